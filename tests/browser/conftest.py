"""Fixtures of these tests: skipped without Chromium, unless TASKQ_NEEDS_BROWSER is set."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from django_taskq.broker.connection import get_server
from tests.browser.place import Place, browser, chromium, sign_in
from tests.conftest import delete_keys

MISSING = [
    name
    for name, is_there in (
        ("Chromium", chromium() is not None),
        ("the package playwright", find_spec("playwright") is not None),
    )
    if not is_there
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not MISSING or os.environ.get("TASKQ_NEEDS_BROWSER"):
        return
    reason = f"{' and '.join(MISSING)} cannot be found here"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def place(url: str) -> Iterator[Place]:
    """The site, without a worker."""
    home = Path(tempfile.mkdtemp(prefix="tq-web-"))
    prefix = f"t{uuid4().hex[:12]}"
    place = Place(home, url, prefix)
    try:
        place.serve()
        yield place
    finally:
        place.stop()
        delete_keys(get_server(url), prefix)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def signed_in(chrome: Any, place: Place) -> Any:
    """What a browser keeps in which ada has signed in."""
    context = chrome.new_context()
    sign_in(context.new_page(), place)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def page(chrome: Any, place: Place, signed_in: Any) -> Iterator[Any]:
    """A page of ada's; fails the test when something was against the policy, or a script failed."""
    context = chrome.new_context(
        locale="en-GB", viewport={"width": 1280, "height": 900}, storage_state=signed_in
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    wrong: list[str] = []

    def listen(said: Any) -> None:
        if said.type == "error" and not said.location["url"].endswith("/favicon.ico"):
            wrong.append(said.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(place.page())
    yield page
    context.close()
    assert wrong == []
