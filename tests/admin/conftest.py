"""Fixtures of these tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from django_taskq import client, periodic
from django_taskq.admin import console as module
from django_taskq.admin.console import Console
from django_taskq.periodic import _declared
from tests.engine import tasks
from tests.engine.support import backend, enqueued, hand, jobs, private, private_url, ran

__all__ = ["backend", "enqueued", "hand", "jobs", "private", "private_url", "ran"]

ROOT = "/admin/django_taskq"
EVERYTHING = "everything"
PATIENCE = 20.0  # seconds
OF_A_PERSON = module.CONNECT, module.ANSWER


class FastClock:
    """In the place of the module ``time``: an hour ahead."""

    monotonic = time.monotonic

    @staticmethod
    def time_ns() -> int:
        return time.time_ns() + 3600 * 10**9


class Staff:
    """A member of staff in a browser."""

    def __init__(self, name: str, *permissions: str) -> None:
        self.user = get_user_model().objects.create_user(name, is_staff=True)
        self.name = name
        apps = ["django_taskq", "taskq_schedules"]
        ours = Permission.objects.filter(content_type__app_label__in=apps)
        wanted = ours if EVERYTHING in permissions else ours.filter(codename__in=permissions)
        assert EVERYTHING in permissions or len(wanted) == len(permissions)
        self.user.user_permissions.add(*wanted)
        self.client = Client(raise_request_exception=True)
        self.client.force_login(self.user)

    def get(self, page: str, **params: Any) -> Any:
        return self.client.get(f"{ROOT}/{page}", params)

    def post(self, page: str, **fields: Any) -> Any:
        return self.client.post(f"{ROOT}/{page}", fields)

    def sees(self, page: str, **params: Any) -> str:
        """The page as text; fails where there is none."""
        answer = self.get(page, **params)
        assert answer.status_code == 200, answer.status_code
        return str(answer.content.decode())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction around a test is never committed: jobs must not wait for that."""
    monkeypatch.setattr(client, "commit_alias", lambda on_commit: None)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page waits for its server for as long as the settings allow: this machine may be busy."""
    monkeypatch.setattr(module, "CONNECT", PATIENCE)
    monkeypatch.setattr(module, "ANSWER", PATIENCE)


@pytest.fixture
def as_for_a_person(_patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page gives its server up as soon as where somebody waits for it."""
    connect, answer = OF_A_PERSON
    monkeypatch.setattr(module, "CONNECT", connect)
    monkeypatch.setattr(module, "ANSWER", answer)


@pytest.fixture(autouse=True)
def _nightly() -> Iterator[None]:
    """One schedule in code, and no other."""
    before = dict(_declared)
    _declared.clear()
    periodic("0 3 * * *", name="nightly", tz="Europe/Berlin", args=["for a reason"])(tasks.fail)
    yield
    _declared.clear()
    _declared.update(before)


@pytest.fixture
def staff(db: None, backend: Any) -> Callable[..., Staff]:
    """Makes members of staff with permissions of ours."""
    return Staff


@pytest.fixture
def ada(staff: Callable[..., Staff]) -> Staff:
    """One who may do everything."""
    return staff("ada", EVERYTHING)


@pytest.fixture
def console(backend: Any) -> Console:
    """The backend as the admin has it."""
    return Console("default")
