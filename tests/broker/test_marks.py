"""Releases of the project: when each was seen first, and no more of them than are kept."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker import releases as releases_module
from django_taskq.broker.broker import Broker
from django_taskq.broker.releases import Release, Releases, releases_in


@pytest.fixture
def releases(broker: Broker) -> Releases:
    return Releases(broker)


def kept(broker: Broker) -> list[Release]:
    return releases_in(broker.server.call(Releases(broker).call()))


def test_a_release_is_noted_when_it_is_seen_first(
    releases: Releases, broker: Broker, clock: Any
) -> None:
    first = clock()
    assert releases.mark("4f2a91c") == first
    second = clock.forward(60_000)
    assert releases.mark("ünïcode") == second
    clock.forward(60_000)

    assert releases.mark("4f2a91c") == first

    assert kept(broker) == [Release("4f2a91c", first), Release("ünïcode", second)]


def test_the_newest_are_kept(
    releases: Releases, broker: Broker, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases_module, "KEPT", 3)
    for number in range(5):
        releases.mark(f"r{number}")
        clock.forward(1)

    assert [release.name for release in kept(broker)] == ["r2", "r3", "r4"]


def test_one_that_is_older_than_all_that_are_kept_is_not(
    releases: Releases, broker: Broker, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis' clock was set back."""
    monkeypatch.setattr(releases_module, "KEPT", 1)
    releases.mark("new")
    now = clock.forward(-1_000)

    assert releases.mark("late") == now

    assert [release.name for release in kept(broker)] == ["new"]
