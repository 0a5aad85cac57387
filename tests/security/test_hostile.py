"""What anybody who can write to Redis may put there: a worker survives it, and runs none of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_taskq import registry
from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Broker
from django_taskq.compat import task_backends
from django_taskq.execution import Attempt, Runner
from django_taskq.job import Grant, Kind, Live, Outcome, State
from tests.conftest import eventually
from tests.processes.app import tasks
from tests.processes.conftest import Station, make_station
from tests.security.tasks import RAN, double

DOUBLE = double.module_path
NOTE = tasks.note.module_path
LONG = 60.0  # seconds that no process takes here, on however busy a machine
ESCAPE = "\x1b[31m\nERROR forged line\r"

ENVELOPES = {
    "no-text": b"\xff\xfe",
    "no-json": b"{]",
    "empty": b"",
    "object": b'{"t":"x"}',
    "no-name": b'["",1]',
    "name-number": b"[1,1]",
    "time-text": b'["a.b","1"]',
    "time-huge": b'["a.b",' + b"9" * 30 + b"]",
    "time-float": b'["a.b",1e308]',
    "time-negative": b'["a.b",-1]',
    "after-huge": b'["a.b",1,[],{},{},' + b"9" * 18 + b"]",
    "args-object": b'["a.b",1,{}]',
    "deep": b'["a.b",1,' + b"[" * 100_000,
    "deep-closed": b'["a.b",1,[' + b"[" * 2_000 + b"]" * 2_000 + b"]]",
    "digits": b'["a.b",1,[' + b"9" * 100_000 + b"]]",
    "seal": b"~s1." + b"A" * 43 + b".",
    "seal-short": b"~s1.AAA",
    "cipher-number": b'["a.b",1,[],{},{},0,7]',
    "pickle": b"\x80\x04\x95\x1e\x00\x8c\x05posix\x94\x8c\x06system\x94\x93.",
}
NAMES = [
    "os.system",
    "builtins.eval",
    "builtins.exec",
    "subprocess:run",
    "posix.system",
    "__class__",
    "__init__.__globals__",
    f"{DOUBLE}.func",
    f"{DOUBLE}.__call__",
    f"{DOUBLE}.func.__globals__",
    "tests.security.tasks",
    "tests.security.tasks.RAN.clear",
    "tests.security.tasks.helper",
    "django_taskq.task.task",
    "django.core.management.call_command",
    "antigravity.webbrowser",
    "this.s",
    "../../etc/passwd",
    "",
    " ",
    DOUBLE + " ",
    DOUBLE.upper(),
    DOUBLE.replace("o", "о"),  # a letter of another alphabet
    DOUBLE + "\n",
    DOUBLE + "\0",
    "n" * 1_000_000,
    ESCAPE,
]


def prepared(raw: bytes, id: str = "x.1") -> Attempt | Outcome:
    runner = Runner("default", "h" * 22, RedisBackend)
    return runner.prepare(Grant("default", id, raw, Live(fence=1)), 1)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_leads_to_a_declared_task_or_nowhere(name: str) -> None:
    import msgspec

    before = set(sys.modules)
    outcome = prepared(msgspec.json.encode([name, 1, [1]]))
    assert isinstance(outcome, Outcome)
    assert outcome.kind is (Kind.PARKED if name else Kind.QUARANTINED)
    assert len(outcome.task) <= 200
    assert outcome.task.isprintable()
    assert " " not in outcome.task
    assert set(sys.modules) == before
    assert RAN == []


def test_every_name_that_is_known_is_a_task_that_was_declared() -> None:
    for name in registry.names():
        task = registry.find(name)
        assert task is not None
        assert name in (task.module_path, *task.options.aliases)


# --- envelopes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENVELOPES)
def test_an_envelope_that_is_none_is_quarantined(name: str) -> None:
    outcome = prepared(ENVELOPES[name])
    assert isinstance(outcome, Outcome)
    assert outcome.kind in (Kind.QUARANTINED, Kind.PARKED)
    assert len(outcome.blob) < 2_000
    assert b"\n" not in outcome.blob


def test_options_from_redis_are_checked_like_any_other() -> None:
    made = prepared(
        f'["{DOUBLE}",1,[1],{{}},{{"timeout":1e999,"max_attempts":-1,"backoff":"os.system",'
        '"retry_on":["os.system"],"aliases":["os.system"],"sensitive":[],"func":"os.system",'
        '"tags":7}]'.encode()
    )
    if isinstance(made, Attempt):
        assert made.task.func is double.func
        assert made.task.options.max_attempts == double.options.max_attempts
    else:
        assert made.kind is Kind.QUARANTINED


# --- the log --------------------------------------------------------------------------------------


def test_what_comes_from_redis_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    prepared(b"junk", id=f"x{ESCAPE}.1")
    prepared(f'["{DOUBLE}",1,[],{{"a\\u001b[31m\\nFAKE":1}}]'.encode())
    for record in caplog.records:
        message = record.getMessage()
        assert message.isprintable(), message
    assert r"\x1b[31m\nERROR forged line\r" in caplog.text


# --- every key ------------------------------------------------------------------------------------


@pytest.fixture
def backend(backend: RedisBackend) -> RedisBackend:
    backend.broker.number("default")
    return backend


def plant(broker: Broker) -> None:
    """Garbage in every place that is read."""

    def put(command: str, key: str, *values: Any) -> None:
        broker.server.command(command, broker.key("default", key), *values)

    put("HSET", "meta", "renewed", "x", "reap_after", "y", "keeper", b"\xff", "swept", "z")
    put("ZADD", "holders", 1, b"\xff\xfe", 2, b"a b", 3, ESCAPE, "inf", "h" * 22)
    put("ZADD", "running", 5, b"\xff", 6, "nobody", 7, ESCAPE)
    put("HSET", "live", b"\xff", b"short", "nobody", b"\xff" * 80, "short", b"x")
    put("ZADD", "parked", 0, b"\xff\n", 0, "noseparator", 0, b"x \xff", 0, f"{NOTE} gone", 0, "")
    put("HSET", "cancels", b"\xff", b"\xff", "a b", ESCAPE)
    put("ZADD", "scheduled", "-inf", "unknown-1", 1, b"\xff", "inf", "never")
    put("ZADD", "retrying", "-inf", b"\xfe", "1e300", "unknown-2")
    put("ZADD", "succeeded", 1, b"\xff", "inf", "unknown-3")
    put("ZADD", "waiting", "-inf", b"\xff")
    put("RPUSH", "wake", b"\xff", *["x"] * 1000)
    put("RPUSH", "timer", b"\xff")
    for name, raw in ENVELOPES.items():
        put("HSET", "jobs", name, raw)
        put("ZADD", "ready", -9, name)
    for id in (b"\xff\xfe.1", b"", b"a b", ESCAPE.encode(), b"i" * 100_000, b"short"):
        put("HSET", "jobs", id, b'["os.system",1]')
        put("ZADD", "ready", "-inf", id)


def test_every_call_of_a_worker_survives_garbage(backend: RedisBackend) -> None:
    broker = backend.broker
    plant(broker)

    renewed = broker.renew(["default"], ["me".ljust(22)], 30_000)["default"]
    assert NOTE in renewed.parked
    assert broker.promote("default", "keeper", force=True).moved
    broker.release("default", NOTE)
    for holder in (*renewed.lapsed, ""):
        broker.reclaim("default", holder, b"{}")
    assert list(broker.walk("default", mend=True))
    broker.trim("default")
    broker.cancel("default", [("short", "x"), ("nobody", ESCAPE)], b"{}", 1000)
    broker.retry("default", ["short", "nobody"])
    broker.fetch("default", ["short", "nobody", *ENVELOPES])
    broker.queues()


def test_every_job_can_be_looked_at(backend: RedisBackend) -> None:
    plant(backend.broker)
    number = backend.broker.number("default")
    for name, raw in ENVELOPES.items():
        id = f"{name}.{number}"
        backend.server.command("HSET", backend.broker.key("default", "jobs"), id, raw)
        backend.server.command("HSET", backend.broker.key("default", "live"), id, b"x")
        backend.server.command("HSET", backend.broker.key("default", "errors"), id, b"\xff\n{}\n9")
        backend.server.command("ZADD", backend.broker.key("default", "dead"), 1e15, id)
        result = backend.get_result(id)
        assert result.state is State.DEAD
        assert repr(result)


@pytest.fixture
def station(tmp_path: Path, url: str, prefix: str) -> Iterator[Station]:
    yield from make_station(tmp_path, url, prefix)


def test_a_worker_lives_on_and_does_its_work(station: Station) -> None:
    backend = task_backends["default"]
    broker = backend.broker
    number = broker.number("default")
    worker = station.worker("--processes", "1")
    eventually(lambda: backend.server.command("PUBSUB", "NUMSUB", broker.control)[1] > 0, LONG)
    plant(broker)
    for message in (
        b"\xff",
        b"",
        b"cancel",
        b"cancel h q i 1",
        b"cancel " + b"h" * 22 + b" q i " + b"9" * 9999,
        f"cancel {ESCAPE} q i x".encode(),
        b"stop 0",
    ):
        backend.server.command("PUBLISH", broker.control, message)
        backend.server.command("SPUBLISH", broker.key("default", "ended"), message)
    backend.server.command(
        "HSET", broker.key("default", "jobs"), f"evil.{number}", f'["{NOTE}{ESCAPE!r}",1]'
    )

    results = [tasks.add.enqueue(1, n) for n in range(20)]

    assert [result.get(timeout=LONG) for result in results] == list(range(1, 21))
    eventually(
        lambda: (
            int(backend.server.command("HGET", broker.key("default", "meta"), "quarantined") or 0)
            >= len([raw for raw in ENVELOPES.values() if raw[:5] != b'["a.b'])
        ),
        LONG,
        message="garbage is to be quarantined",
    )
    assert worker.process.poll() is None
    assert worker.stop() == 0
    assert "\x1b" not in worker.output
    assert "\nERROR forged line" not in worker.output
    assert "Traceback" not in worker.output
