"""Signed and encrypted jobs on a real server: what is forged is never run and never returned."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_taskq import Task
from django_taskq.backends import RedisBackend
from django_taskq.broker.inspector import Inspector
from django_taskq.broker.keys import QUEUE_KEYS
from django_taskq.codec import Seals, decode_failures, encode_envelope
from django_taskq.compat import task_backends
from django_taskq.exceptions import BadSeal, KeyMissing, ResultTruncated, TaskFailed
from django_taskq.execution import Runner
from django_taskq.finding import TAIL, Filter
from django_taskq.grouping import groups
from django_taskq.job import Envelope, Grant, Kind, Live, Outcome, State
from django_taskq.judge import Judge
from django_taskq.result import TaskResult
from django_taskq.services.consumer import cut
from django_taskq.showing import summary
from tests.engine.support import Hand, configured, stored
from tests.security.tasks import RAN, double, echo, grumble, nothing

KEY = "k" * 43
OTHER_KEY = "o" * 42 + "A"
CANARY = "canary-" + "x" * 30


@pytest.fixture(autouse=True)
def _ran() -> Iterator[None]:
    RAN.clear()
    yield
    RAN.clear()


class Station:
    """A backend and its worker by hand, under settings that a test may change."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix

    def under(self, **options: Any) -> override_settings:
        return override_settings(TASKS={"default": configured(self.url, self.prefix, **options)})

    @property
    def backend(self) -> RedisBackend:
        return task_backends["default"]

    def work(self) -> list[Outcome]:
        hand = Hand(self.backend.broker)
        hand.runner = Runner("default", hand.holder, RedisBackend, seals=self.backend.broker.seals)
        return hand.run()

    def command(self, *words: Any) -> Any:
        return self.backend.server.command(*words)

    def key(self, name: str) -> str:
        return self.backend.broker.key("default", name)

    def everything(self) -> bytes:
        """All that Redis holds of the queue, to look for what must not be in it."""
        parts: list[bytes] = []
        for name, kind in QUEUE_KEYS.items():
            word = {"HASH": "HGETALL", "STREAM": None, "CHANNEL": None}.get(kind, "")
            if word:
                reply = self.command(word, self.key(name))
                parts += reply if isinstance(reply, list) else [repr(reply).encode()]
        return b"\n".join(parts)

    def plant(self, id: str, raw: bytes) -> None:
        """What somebody does who can write to Redis."""
        self.command("HSET", self.key("jobs"), id, raw)
        self.command("ZADD", self.key("ready"), 0, id)


@pytest.fixture
def station(url: str, prefix: str) -> Station:
    return Station(url, prefix)


def unsigned(task: Task, *args: Any) -> bytes:
    return encode_envelope(Envelope(t=task.module_path, e=1, a=list(args)), 1 << 20)


BOTH_WAYS = pytest.mark.parametrize(
    "options",
    [{"SIGN": True}, {"ENCRYPTION_KEYS": [KEY]}, {"SIGN": True, "ENCRYPTION_KEYS": [KEY]}],
    ids=["sign", "encrypt", "both"],
)


# --- what is right goes through -------------------------------------------------------------------


@BOTH_WAYS
def test_a_sealed_job_is_run_and_read(station: Station, options: dict[str, Any]) -> None:
    with station.under(**options):
        results = [double.enqueue(4), nothing.enqueue(), *double.enqueue_many([(5,), (6,)])]
        station.work()
        assert [result.get(timeout=5) for result in results] == [8, None, 10, 12]
        assert station.backend.get_result(results[0].id).args == [4]


@BOTH_WAYS
def test_failures_are_sealed_and_read(station: Station, options: dict[str, Any]) -> None:
    with station.under(**options):
        result = grumble.enqueue("so so")
        station.work()
        Hand(station.backend.broker).promote()
        station.work()
        result.refresh()
        assert [e.exception_class_path for e in result.errors] == ["builtins.ValueError"] * 2
        assert all("no good: so so" in error.traceback for error in result.errors)
        assert result.attempts == 2


@BOTH_WAYS
def test_a_cancelled_job_says_so(station: Station, options: dict[str, Any]) -> None:
    with station.under(**options):
        result = double.enqueue(4)
        assert result.cancel()
        result.refresh()
        assert result.errors[0].exception_class_path.endswith("JobCancelled")


@pytest.mark.parametrize("more", [{}, {"SIGN": True}], ids=["encrypt", "both"])
def test_nothing_of_an_encrypted_job_can_be_read_in_redis(
    station: Station, more: dict[str, Any]
) -> None:
    with station.under(ENCRYPTION_KEYS=[KEY], **more):
        echo.enqueue(CANARY)
        grumble.enqueue(text=CANARY)
        station.work()
        station.work()
        held = station.everything()
        assert b"canary" not in held
        assert b"tests.security.tasks.grumble" in held  # what an operator has to see


@BOTH_WAYS
def test_a_failure_that_is_read_in_part_is_not_taken_for_forged(
    station: Station, options: dict[str, Any]
) -> None:
    """A list reads 2 KB of it, a page of groups as much as the longest takes."""
    with station.under(**options):
        grumble.using(max_attempts=1).enqueue("x" * 30_000)
        station.work()
        broker = station.backend.broker
        inspector, seals = Inspector(broker), broker.seals
        sizes = {("default", State.DEAD): 1}
        wanted = Filter(error="ValueError")

        (row,) = inspector.search(sizes, wanted.matches(), tail=wanted.tail).rows
        assert len(row.failure) < 16_384 < row.failure_size
        assert (summary(row, seals).exception, summary(row, seals).message) == (
            "builtins.ValueError",
            "",
        )
        assert wanted.is_meant(row, seals)
        (group,) = groups(inspector.newest(sizes, 1, TAIL).page.rows, seals)
        assert group.fingerprint.exception == "builtins.ValueError"
        assert group.fingerprint.place.endswith("tests/security/tasks.py: grumble")


# --- what is forged -------------------------------------------------------------------------------


def is_quarantined(station: Station, id: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="django_taskq.job"):
        (outcome,) = station.work()
    assert RAN == []
    assert outcome.kind is Kind.QUARANTINED
    (record,) = [r for r in caplog.records if "quarantined" in r.message]
    assert id in record.message
    result = station.backend.get_result(id)
    assert result.state is State.DEAD
    assert result.errors[0].exception_class_path.endswith("BadSeal")
    assert int(station.command("HGET", station.key("meta"), "quarantined")) == 1


def test_an_unsigned_job_is_quarantined(station: Station, caplog: pytest.LogCaptureFixture) -> None:
    with station.under(SIGN=True):
        id = f"forged.{station.backend.broker.number('default')}"
        station.plant(id, unsigned(double, 4))
        is_quarantined(station, id, caplog)


def test_a_job_under_another_id_is_quarantined(
    station: Station, caplog: pytest.LogCaptureFixture
) -> None:
    with station.under(SIGN=True):
        result = double.enqueue(4)
        raw = stored(station.backend.broker, result).envelope
        station.work()
        RAN.clear()
        station.plant("replayed." + result.id.split(".")[1], raw)
        is_quarantined(station, "replayed." + result.id.split(".")[1], caplog)


def test_a_job_whose_arguments_were_changed_is_quarantined(
    station: Station, caplog: pytest.LogCaptureFixture
) -> None:
    with station.under(SIGN=True):
        result = double.enqueue(4)
        raw = stored(station.backend.broker, result).envelope
        station.command("HSET", station.key("jobs"), result.id, raw.replace(b"[4]", b"[5]"))
        is_quarantined(station, result.id, caplog)
        assert station.backend.get_result(result.id).args == []  # never those that were forged


def test_two_jobs_cannot_be_swapped(station: Station) -> None:
    with station.under(SIGN=True):
        one, two = double.enqueue(1), double.enqueue(2)
        broker = station.backend.broker
        raws = [stored(broker, result).envelope for result in (one, two)]
        station.command("HSET", station.key("jobs"), one.id, raws[1], two.id, raws[0])
        assert {outcome.kind for outcome in station.work()} == {Kind.QUARANTINED}
        assert RAN == []


def test_a_forged_value_is_never_returned(station: Station) -> None:
    with station.under(SIGN=True):
        one, two = double.enqueue(1), double.enqueue(2)
        station.work()
        theirs = stored(station.backend.broker, two).value
        for forged in (b"666", b"", b"null", theirs):
            if forged:
                station.command("HSET", station.key("results"), one.id, forged)
            else:
                station.command("HDEL", station.key("results"), one.id)
            read = station.backend.get_result(one.id)
            assert read.state is State.SUCCEEDED
            with pytest.raises(BadSeal, match=one.id):
                _ = read.return_value
            with pytest.raises(BadSeal):
                read.get(timeout=5)
            assert "666" not in repr(read)


def test_a_forged_error_is_never_shown(station: Station) -> None:
    with station.under(SIGN=True):
        result = grumble.enqueue("x")
        station.work()
        real = stored(station.backend.broker, result).errors
        forged = b'{"c":"a.B","m":"click here","b":"click here"}'
        station.command("HSET", station.key("errors"), result.id, forged + b"\n" + real)
        errors = station.backend.get_result(result.id).errors
        assert errors[0].exception_class_path.endswith("BadSeal")
        assert "click" not in repr(errors)
        assert errors[1].exception_class_path == "builtins.ValueError"


def test_a_job_dead_for_its_seal_can_be_retried_once_the_secret_is_known(station: Station) -> None:
    with station.under(SIGN=True), override_settings(SECRET_KEY="new"):
        result = double.enqueue(4)
    with station.under(SIGN=True), override_settings(SECRET_KEY="old"):
        assert station.work()[0].kind is Kind.QUARANTINED
    with (
        station.under(SIGN=True),
        override_settings(SECRET_KEY="old", SECRET_KEY_FALLBACKS=["new"]),
    ):
        assert station.backend.get_result(result.id).retry()
        assert station.work()[0].kind is Kind.SUCCEEDED


def test_what_a_sweep_says_of_an_emptied_job_is_ours(station: Station) -> None:
    with station.under(SIGN=True):
        result = double.enqueue(4)
        station.command("HDEL", station.key("jobs"), result.id)
        broker = station.backend.broker
        assert sum(
            len(ids) for chunk in broker.walk("default", mend=True) for ids in chunk.found.values()
        )
        result.refresh()
        assert result.state is State.DEAD
        assert [e.exception_class_path for e in result.errors] == [
            "django_taskq.exceptions.MalformedJob"
        ]


@BOTH_WAYS
def test_what_is_judged_in_place_of_a_dead_process_is_sealed(
    station: Station, options: dict[str, Any]
) -> None:
    with station.under(**options):
        result = double.enqueue(4)
        backend = station.backend
        hand = Hand(backend.broker)
        (grant,) = hand.claim()
        overdue = {grant.id: grant.live.fence}
        Judge(backend.broker, "default", RedisBackend).settle("default", hand.holder, overdue)
        result.refresh()
        assert result.state is State.RETRYING
        assert [e.exception_class_path for e in result.errors] == [
            "django_taskq.exceptions.TaskTimeout"
        ]


# --- switching it on, rotating --------------------------------------------------------------------


def test_signing_can_be_switched_on_in_a_running_system(station: Station) -> None:
    with station.under():
        before = double.enqueue(1)
    with station.under(SIGN="accept"):
        between = double.enqueue(2)
        assert stored(station.backend.broker, between).envelope.startswith(b"~s1.")
    with station.under():  # a worker that has not been told yet
        station.plant(f"late.{before.id.split('.')[1]}", unsigned(double, 3))
        hand = Hand(station.backend.broker)
        hand.settle(*(hand.attempt(grant) for grant in hand.claim(1)))
    with station.under(SIGN="accept"):
        station.work()
        assert sorted(RAN) == [1, 2, 3]
        assert (before.get(timeout=5), between.get(timeout=5)) == (2, 4)
    with station.under(SIGN=True):
        assert station.backend.get_result(between.id).return_value == 4
        with pytest.raises(BadSeal):
            _ = station.backend.get_result(f"late.{before.id.split('.')[1]}").return_value


def test_a_secret_is_rotated_by_djangos_fallbacks(station: Station) -> None:
    with station.under(SIGN=True), override_settings(SECRET_KEY="old"):
        result = double.enqueue(4)
    with (
        station.under(SIGN=True),
        override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]),
    ):
        station.work()
        assert station.backend.get_result(result.id).return_value == 8
    with station.under(SIGN=True), override_settings(SECRET_KEY="new"):
        assert station.backend.get_result(result.id).return_value == 8


def test_a_worker_without_the_key_parks_the_job_for_one_that_has_it(station: Station) -> None:
    with station.under(ENCRYPTION_KEYS=[KEY]):
        result = double.enqueue(4)
    for options in ({}, {"ENCRYPTION_KEYS": [OTHER_KEY]}):
        with station.under(**options):
            (outcome,) = station.work()
            assert (outcome.kind, outcome.task) == (Kind.PARKED, double.module_path)
            assert b"ENCRYPTION_KEYS" in outcome.blob
            assert KEY.encode() not in outcome.blob
            read = station.backend.get_result(result.id)
            assert (read.state, read.args, read.attempts) == (State.WAITING, ["(encrypted)"], 0)
            station.command("ZADD", station.key("waiting"), 0, result.id)  # its pause is over
            assert station.backend.broker.release("default", double.module_path) == 1
    with station.under(ENCRYPTION_KEYS=[OTHER_KEY, KEY]):
        station.work()
        assert station.backend.get_result(result.id).return_value == 8
    with station.under(ENCRYPTION_KEYS=[KEY]), pytest.raises(KeyMissing):
        _ = station.backend.get_result(result.id).return_value


def test_encryption_can_be_switched_on_in_a_running_system(station: Station) -> None:
    with station.under():
        before = double.enqueue(1)
    with station.under(ENCRYPTION_KEYS=[KEY]):
        station.work()
        assert before.get(timeout=5) == 2


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"SIGN": "too-short-a-key"},
        {"ENCRYPTION_KEYS": ["too-short-a-key"]},
        {"ENCRYPTION_KEYS": True},
    ],
)
def test_a_setting_that_cannot_be_used_stops_everything(
    station: Station, options: dict[str, Any]
) -> None:
    """A site that asked for encryption and mistyped a key must not store plain text instead."""
    with station.under(**options):
        (message,) = station.backend.check()
        assert next(iter(options)) in message.msg
        assert "No job is taken or run until then" in message.hint
        assert "too-short-a-key" not in f"{message!r} {station.backend.conf!r}"
        with pytest.raises(ImproperlyConfigured, match=r"manage\.py check"):
            double.enqueue(1)


def test_a_missing_extra_says_what_to_install(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_taskq.keyring.find_spec", lambda name: None)
    with station.under(ENCRYPTION_KEYS=[KEY]):
        (message,) = station.backend.check()
    assert "pip install 'django-taskq-redis[encryption]'" in message.msg


def test_keys_are_hidden_by_djangos_own_filter_and_in_every_repr(station: Station) -> None:
    from django.views.debug import SafeExceptionReporterFilter

    with station.under(SIGN=True, ENCRYPTION_KEYS=[KEY]):
        backend = station.backend
        shown = f"{backend.conf!r} {backend.broker!r} {backend.broker.seals!r}"
        assert KEY not in shown
        assert "k" * 20 not in shown
        assert KEY not in repr(SafeExceptionReporterFilter().get_safe_settings())


# --- lean mode ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seals",
    [None, Seals("p", secrets=["s"]), Seals("p", secrets=["s"], keys=[b"k" * 32])],
    ids=["plain", "sign", "both"],
)
def test_a_full_redis_gets_short_failures_that_open_still(seals: Seals | None) -> None:
    runner = Runner("default", "h" * 22, RedisBackend, seals=seals)
    envelope = Envelope(t=grumble.module_path, e=1, a=["y" * 5000])
    raw = encode_envelope(envelope, 1 << 20)
    if seals:
        raw = seals.seal_envelope("x.1", envelope, 1 << 20)
    attempt = runner.prepare(Grant("default", "x.1", raw, Live(fence=1)), 1)
    assert not isinstance(attempt, Outcome)
    outcome = attempt.run_here()

    short = cut(outcome) if seals is None else cut(outcome, seals)

    assert len(short) < 2048 < len(outcome.blob)
    assert b"\n" not in short
    opener = seals or Seals()
    (failure,) = opener.open_failures("x.1", "default", short)
    assert failure.c == "builtins.ValueError"
    assert failure.m.startswith("no good: yyy")
    assert decode_failures(short)[0].n == 1


@BOTH_WAYS
def test_a_value_cut_by_a_full_redis_says_so(station: Station, options: dict[str, Any]) -> None:
    with station.under(**options):
        result = echo.enqueue("z" * 3000)
        hand = Hand(station.backend.broker)
        hand.runner = Runner(
            "default", hand.holder, RedisBackend, seals=station.backend.broker.seals
        )
        (outcome,) = [hand.attempt(grant) for grant in hand.claim()]
        seals = station.backend.broker.seals
        assert seals is not None
        hand.settle(outcome._replace(blob=cut(outcome, seals)))
        with pytest.raises(ResultTruncated):
            result.get(timeout=5)


def test_a_dead_job_is_a_task_failed_with_its_reason(station: Station) -> None:
    with station.under(SIGN=True):
        id = f"forged.{station.backend.broker.number('default')}"
        station.plant(id, unsigned(double, 4))
        station.work()
        result: TaskResult = station.backend.get_result(id)
        with pytest.raises(TaskFailed, match="not signed"):
            result.get(timeout=5)
