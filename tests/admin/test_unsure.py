"""What Redis may have done without an answer stands in the log, whatever was ordered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import override_settings

from django_taskq.backends import RedisBackend
from django_taskq.broker.almanac import Almanac
from django_taskq.broker.broker import HOUSEKEEPING, Broker
from django_taskq.broker.roster import Process, Record, Roster
from django_taskq.broker.steering import Steering
from django_taskq.broker.triage import Triage
from django_taskq.exceptions import BrokerFull, BrokerUnavailable
from django_taskq.job import State
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.proxy import Proxy, proxied
from tests.engine.support import Hand, configured

TRIES = 0.3  # seconds for which a call that got no answer is tried again
RECORD = Record("web1", 7, "1.0", 5, "running", {"default": 3}, 10, processes=[Process("h", 8, 6)])
LIMIT = f"task:{tasks.narrow.module_path}"
CALL = f"tasktype/{tasks.nothing.module_path}/call/"


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    with proxied(url) as made:
        yield made


@pytest.fixture
def ids(backend: RedisBackend, hand: Hand) -> dict[str, str]:
    """A dead job, one that waits, and one that keeps another out."""
    dead = tasks.fail.using(max_attempts=1).enqueue("dead")
    hand.run()
    ready, lock = tasks.add.enqueue(1), tasks.once.enqueue(1)
    tasks.narrow.enqueue(1)
    Roster(backend.broker).enroll("w", RECORD, 60_000)
    return {"dead": dead.id, "ready": ready.id, "lock": lock.id}


def entry() -> tuple[str, str, Any]:
    """The only one: verb, of what, outcome."""
    (found,) = LogEntry.objects.all()
    said = json.loads(found.change_message)
    return said["verb"], found.object_id, said["outcome"]


@pytest.mark.parametrize(
    ("page", "fields", "step", "verb", "of"),
    [
        ("job/do/", {"verb": "cancel", "job": "{ready}"}, (Broker, "cancel"), "cancel", "{ready}"),
        ("job/do/", {"verb": "retry", "everything": "1"}, (Broker, "enqueue_one"), "retry", ""),
        ("job/{ready}/copy/", {}, (Broker, "enqueue_one"), "copy", "{ready}"),
        ("job/{lock}/unlock/", {"owner": "{lock}"}, (Steering, "unlock"), "unlock", "{lock}"),
        ("job/{ready}/edit/", {"arg-0": "2"}, (Steering, "edit"), "edit", "{ready}"),
        (CALL, {"queue_name": "default"}, (Broker, "enqueue_one"), "call", ""),
        ("queue/default/pause/", {}, (Steering, "pause_all"), "pause", "default"),
        (
            *("queue/default/limit/", {"limit": LIMIT, "concurrency": "4"}),
            *((Steering, "limit"), "limit", "default"),
        ),
        ("queue/default/resume/", {}, (Steering, "resume_all"), "resume", "default"),
        (
            *("queue/default/purge/", {"state": "dead", "name": "default"}),
            *((Broker, "enqueue_one"), "purge", "default"),
        ),
        ("worker/w/do/", {"verb": "quiet"}, (Roster, "order"), "quiet", "w"),
        ("schedule/nightly/do/", {"verb": "skip"}, (Almanac, "steer"), "skip", "nightly"),
        (
            *("failure/do/", {"verb": "resolve", "exception": "E", "task": "t", "place": "p"}),
            *((Triage, "resolve"), "resolve", "E, t, p"),
        ),
    ],
)
def test_what_may_have_been_done_is_written_down(
    ada: Staff,
    proxy: Proxy,
    prefix: str,
    ids: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    fields: dict[str, str],
    step: tuple[Any, str],
    verb: str,
    of: str,
) -> None:
    done = getattr(*step)

    def unanswered(*args: Any, **kwargs: Any) -> Any:
        proxy.meanwhile = proxy.go_away
        proxy.losing = True
        return done(*args, **kwargs)

    monkeypatch.setattr(*step, unanswered)
    sent = {name: value.format(**ids) for name, value in fields.items()}
    far = configured(proxy.url, prefix, CONNECT_TIMEOUT=TRIES)
    with override_settings(TASKS={"default": far}):
        answer = ada.post(page.format(**ids), priority="0", confirmed="1", **sent)

    assert proxy.lost == 1
    assert answer.status_code == 503
    assert entry()[0] == verb
    assert entry()[1] == of.format(**ids) or not of
    assert entry()[2] == {"unsure": 1}
    assert "it may have been done" in ada.sees("audit/")


@pytest.mark.parametrize(("many", "noted"), [(HOUSEKEEPING + 1, HOUSEKEEPING + 1), (1, 0)])
def test_what_was_done_to_some_of_those_ticked_is_written_down(
    ada: Staff, backend: RedisBackend, monkeypatch: pytest.MonkeyPatch, many: int, noted: int
) -> None:
    """Many are several calls; where a later one is refused the first are done."""
    ticked = [result.id for result in tasks.nothing.enqueue_many([()] * many)]
    cancel, left = Broker.cancel, [many > 1]

    def full_at_last(*args: Any) -> Any:
        if not left or not left.pop():
            raise BrokerFull("full")
        return cancel(*args)

    monkeypatch.setattr(Broker, "cancel", full_at_last)

    answer = ada.post("job/do/", verb="cancel", job=ticked, confirmed="1")

    assert answer.status_code == 503
    assert ("may have been done" in answer.content.decode()) is bool(noted)
    entries = LogEntry.objects.all()
    assert len(entries) == noted
    assert {json.loads(each.change_message)["outcome"]["unsure"] for each in entries} <= {noted}
    assert backend.get_result(ticked[-1]).state is State.READY
    if noted:
        assert backend.get_result(ticked[0]).state is State.CANCELLED


@pytest.mark.parametrize("owner", ["\0.1", "x" * 46])
def test_a_lock_is_asked_of_nobody_who_can_be_no_job(
    ada: Staff, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    """What may have been done would be written down with that id, which PostgreSQL refuses."""

    def unanswered(*args: Any) -> Any:
        raise BrokerUnavailable("away", maybe_sent=True)

    monkeypatch.setattr(Steering, "unlock", unanswered)

    assert ada.post(f"job/{ids['lock']}/unlock/", owner=owner).status_code == 302
    assert not LogEntry.objects.exists()
