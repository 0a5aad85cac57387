"""What earlier releases left in Redis is read, run and ended by this one, and theirs by them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import override_settings

from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Draft
from django_taskq.codec import Seals, decode_envelope, encode_envelope
from django_taskq.compat import task_backends
from django_taskq.execution import Runner
from django_taskq.job import Envelope, Failure, State, new_id
from django_taskq.reader import failure_of
from tests.conftest import FakeTime, delete_keys
from tests.engine.support import Hand, configured
from tests.releases import record, tasks

FILES = sorted(Path(record.__file__).parent.glob("*.json"))
WRITERS = {"hash": "HSET", "zset": "ZADD", "list": "RPUSH", "string": "SET"}


class Left:
    """What a release left, under a prefix of the test's own and in the time of its recording."""

    def __init__(self, file: Path, backend: RedisBackend) -> None:
        found = json.loads(file.read_text("utf-8"))
        self.expected: dict[str, Any] = found["expected"]
        self.sealed: dict[str, Any] = found["sealed"]
        self.backend = backend
        self.clock = FakeTime(found["now"])
        backend.broker._now = self.clock
        for key, (kind, texts) in found["keys"].items():
            items = [base64.b64decode(text) for text in texts]
            if kind == "zset":
                items = [
                    item for pair in zip(items[1::2], items[::2], strict=True) for item in pair
                ]
            own = key.replace(record.PREFIX, backend.conf.prefix, 1)
            backend.server.command(WRITERS[kind], own, *items)

    def sealed_hand(self) -> Hand:
        """A worker that knows the release's secrets."""
        hand = Hand(self.backend.broker)
        seals = Seals(record.PREFIX, secrets=[record.SECRET], keys=[record.KEY], lenient=True)
        hand.runner = Runner("default", hand.holder, RedisBackend, seals=seals)
        return hand


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def left(request: Any, url: str, prefix: str, server: Any) -> Iterator[Left]:
    entry = configured(url, prefix)
    entry["QUEUES"] = []
    with override_settings(TASKS={"default": entry}):
        yield Left(request.param, task_backends["default"])
    delete_keys(server, prefix)


def test_there_is_something_to_go_on_from() -> None:
    assert [file.stem for file in FILES] == ["0.1"]


def test_every_job_of_an_earlier_release_can_be_read(left: Left) -> None:
    states = {id: left.backend.get_result(id).state for id in left.expected}

    assert set(states.values()) == set(State)
    for id, (state, value) in left.expected.items():
        if states[id] in (State.SUCCEEDED, State.DEAD, State.CANCELLED):
            result = left.backend.get_result(id)
            assert states[id] == state
            if state == "succeeded":
                assert result.return_value == value
            else:
                assert failure_of(result)


def test_every_job_of_an_earlier_release_runs_to_its_end(left: Left) -> None:
    broker = left.backend.broker
    left.clock.forward(61_000)  # what is scheduled or backs off is due, what is held lapsed
    broker.renew(["default"], [], 30_000)  # the outage is over
    left.clock.forward(31_000)
    notice = broker.notice("default", Failure(c="x"))
    held = broker.fetch("default", list(left.expected))
    holders = {job.live.holder for job in held if job.state is State.RUNNING}
    for holder in holders:
        broker.reclaim("default", holder, notice, died=True)
    broker.release("default", tasks.came_later.module_path)
    hand = Hand(broker)
    hand.promote()

    while hand.run(50):
        pass

    ended = {}
    for id in left.expected:
        result = left.backend.get_result(id)
        succeeded = result.state is State.SUCCEEDED
        ended[id] = [str(result.state), result.return_value if succeeded else None]
    assert ended == left.expected


def test_a_sealed_job_of_an_earlier_release_runs(left: Left) -> None:
    hand = left.sealed_hand()
    for _ in range(5):
        hand.run(50)

    jobs = left.backend.broker.fetch("default", list(left.sealed))
    seals = hand.runner.seals
    assert seals is not None
    values = {
        id: json.loads(seals.open_value(id, job.value))
        for id, job in zip(left.sealed, jobs, strict=True)
    }
    assert values == left.sealed


# -- the other way ---------------------------------------------------------------------------------


class EnvelopeOf01(msgspec.Struct, array_like=True):
    """The envelope as release 0.1 knew it."""

    t: str
    e: int
    a: list[Any] = []
    k: dict[str, Any] = {}
    o: dict[str, Any] = {}
    r: int = 0
    x: str = ""


def test_a_release_before_reads_what_this_one_writes() -> None:
    today = Envelope("t", 1, [1], {"k": 2}, {"timeout": 3}, 4)
    raw = encode_envelope(today, 9999)

    old = msgspec.json.decode(raw, type=EnvelopeOf01)

    assert (old.t, old.e, old.a, old.k, old.o, old.r, old.x) == (
        *("t", 1, [1], {"k": 2}, {"timeout": 3}, 4, ""),
    )


def test_fields_of_a_release_to_come_are_passed_over() -> None:
    known = len(Envelope.__struct_fields__)
    filled = ["t", 1, [1], {}, {}, 0, "", *[{}] * (known - 7)]

    envelope = decode_envelope(msgspec.json.encode([*filled, "unheard of", 7]))

    assert (envelope.t, envelope.a) == ("t", [1])


def test_a_job_of_a_release_to_come_runs(backend: RedisBackend, hand: Hand) -> None:
    known = len(Envelope.__struct_fields__)
    filled = [
        tasks.add.module_path,
        1,
        [1],
        {"b": 1},
        {"unheard_of": 1},
        0,
        "",
        *[{}] * (known - 7),
    ]
    number = backend.broker.number("default")
    id = f"{new_id()}.{number}"
    backend.broker.enqueue("default", [Draft(id, msgspec.json.encode([*filled, "news"]))])

    hand.run()

    assert backend.get_result(id).return_value == 2
