"""How much of a core processes use."""

from __future__ import annotations

import os
import sys
import time

import pytest

from django_taskq import cpu
from django_taskq.cpu import Load

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it of others")


class Scripted:
    """Clocks and processes that say what they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.used: dict[int, float | None] = {}
        monkeypatch.setattr(cpu, "monotonic", lambda: self.now)
        monkeypatch.setattr(cpu, "seconds_of", lambda pid: self.used.get(pid))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    return Scripted(monkeypatch)


def test_the_share_is_that_since_the_look_before(scripted: Scripted) -> None:
    load = Load()
    scripted.used = {1: 50.0, 2: 1.0}
    assert load.look([1, 2]) == {1: None, 2: None}

    scripted.now += 10
    scripted.used = {1: 51.5, 2: 21.0}

    assert load.look([1, 2]) == {1: 15, 2: 200}


def test_looks_that_follow_each_other_closely_say_the_same(scripted: Scripted) -> None:
    load = Load()
    scripted.used = {1: 0.0}
    load.look([1])
    scripted.now, scripted.used = 110.0, {1: 5.0}
    assert load.look([1]) == {1: 50}

    scripted.now, scripted.used = 110.1, {1: 5.1}

    assert load.look([1]) == {1: 50}


def test_a_number_that_another_process_has_now_says_nothing_of_it(scripted: Scripted) -> None:
    load = Load()
    scripted.used = {1: 50.0}
    load.look([1])
    scripted.now, scripted.used = 110.0, {1: 0.2}
    assert load.look([1]) == {1: None}

    scripted.now, scripted.used = 120.0, {1: 1.2}

    assert load.look([1]) == {1: 10}


def test_of_a_process_that_is_gone_nothing_is_known(scripted: Scripted) -> None:
    load = Load()
    load.look([1])
    scripted.now += 10

    assert load.look([1]) == {1: None}


@linux
def test_the_time_of_a_process_grows_as_it_works() -> None:
    before = cpu.seconds_of(os.getpid())
    assert before is not None
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass

    after = cpu.seconds_of()

    assert after is not None
    assert after > before
    assert after == pytest.approx(time.process_time(), abs=0.1)


def test_where_there_is_no_proc_only_this_process_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(path: str, mode: str = "r") -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr("builtins.open", away)

    assert cpu.seconds_of(os.getppid()) is None
    assert (cpu.seconds_of() or 0) > 0
    assert (cpu.seconds_of(os.getpid()) or 0) > 0
