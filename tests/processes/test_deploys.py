"""Two releases of a site at work, as in every deploy: each job finds a worker that can run it."""

from __future__ import annotations

from typing import Any

from django_taskq.broker.broker import Draft
from django_taskq.clock import now_ms
from django_taskq.codec import encode_envelope
from django_taskq.compat import task_backends
from django_taskq.job import Envelope, State, new_id
from tests.conftest import eventually
from tests.processes.conftest import Station

APP = "tests.processes.deployed"


def enqueue(name: str, **kwargs: Any) -> str:
    """A job as a web process of some release writes it."""
    broker = task_backends["default"].broker
    id = f"{new_id()}.{broker.number('default')}"
    envelope = Envelope(f"{APP}.tasks.{name}", now_ms(), k=kwargs)
    broker.enqueue("default", [Draft(id, encode_envelope(envelope, 9999))])
    return id


def notes_of(*ids: str) -> list[str]:
    """Why jobs wait; [] while one of them does not."""
    found = [note_of(id) for id in ids]
    return found if all(found) else []


def note_of(id: str) -> str:
    """Why a job waits; "" if it does not."""
    (stored,) = task_backends["default"].broker.fetch("default", [id])
    return stored.live.note if stored.state is State.WAITING else ""


def test_jobs_of_the_new_release_wait_for_its_worker(station: Station) -> None:
    old = station.worker(TEST_APP=APP, RELEASE="old")
    unknown = enqueue("brand_new", text="a")
    unbindable = enqueue("send", to="b", subject="hello")
    bindable = enqueue("send", to="c")
    notes = eventually(lambda: notes_of(unknown, unbindable))
    assert "no task of this name" in notes[0]
    assert "subject" in notes[1]
    station.traced("old send c")
    assert note_of(bindable) == ""

    station.worker(TEST_APP=APP, RELEASE="new")

    old.stop()  # while both live, chance decides which of them looks at a job first
    station.traced("new brand a", "new send b hello", timeout=90)
    assert len(station.lines()) == 3


def test_jobs_of_the_old_release_run_under_the_new_names(station: Station) -> None:
    enqueue("former_name", text="a")
    enqueue("send", to="b")
    station.burst(TEST_APP=APP, RELEASE="new")
    assert sorted(station.lines()) == ["new better a", "new send b none"]
