"""progress(), log() and track(): kept by the child, sent together, and first."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from django_taskq import JobLog, log, progress, track
from django_taskq import reporting as module
from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Broker, Draft
from django_taskq.broker.connection import Server
from django_taskq.codec import encode_envelope
from django_taskq.execution import Attempt, Runner
from django_taskq.job import Envelope, Grant, Live
from django_taskq.report import Report, decode_report
from django_taskq.reporting import AGAIN, MOST, PAUSE, report_of
from tests.broker.helpers import QUEUE, state_of
from tests.engine.rig import Recording, Rig, rigs
from tests.engine.support import IMMEDIATE, using_backend
from tests.engine.tasks import talk


class Clock:
    """The monotonic clock, standing still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def broker(server: Server, prefix: str) -> Recording:
    return Recording(server, prefix)


@pytest.fixture
def rig(broker: Recording) -> Iterator[Rig]:
    with rigs(broker) as make:
        yield make(room=10)


@pytest.fixture
def runner(rig: Rig) -> Runner:
    runner = Runner("default", rig.holder, type(rig))
    runner.reported = rig.consumer.reports.add
    return runner


def enqueue(broker: Broker, *ids: str) -> None:
    envelope = Envelope(t=talk.module_path, e=1, a=[3])
    broker.enqueue(QUEUE, [Draft(id, encode_envelope(envelope, 1000)) for id in ids])


def start(rig: Rig, runner: Runner) -> Attempt:
    grant = rig.consumer.next()
    assert grant is not None
    attempt = runner.prepare(grant, 0)
    assert isinstance(attempt, Attempt)
    return attempt


def kept(broker: Broker, id: str) -> Report | None:
    return decode_report(broker.fetch(QUEUE, [id])[0].report)


def test_what_was_said_is_there_when_the_outcome_is(
    rig: Rig, runner: Runner, broker: Recording
) -> None:
    enqueue(broker, "a")
    rig.consumer.done(start(rig, runner).run())
    assert kept(broker, "a") is None

    rig.consumer.flush()

    report = kept(broker, "a")
    assert report is not None
    assert report.progress is not None
    assert report.progress[:3] == (3, 3, "items")
    assert [line.text for line in report.lines] == ["begins", "ends"]


def test_the_last_word_of_a_job_that_ends_while_reports_are_sent_is_kept(
    rig: Rig, runner: Runner, broker: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(broker, "a")
    attempt = start(rig, runner)
    report_of(attempt).tell(0, 3, "begins", 1)
    attempt.reported()
    send = broker.report

    def slow(*args: Any) -> str:
        """The job ends after its report was made, and before Redis has it."""
        monkeypatch.setattr(broker, "report", send)
        rig.consumer.done(attempt.run())
        return send(*args)

    monkeypatch.setattr(broker, "report", slow)

    rig.consumer.flush()
    rig.consumer.flush()

    report = kept(broker, "a")
    assert report is not None
    assert report.progress is not None
    assert report.progress[:3] == (3, 3, "items")


def test_a_report_is_due_at_once_and_the_next_after_a_pause(
    rig: Rig, runner: Runner, broker: Recording, time: Clock
) -> None:
    enqueue(broker, "a")
    attempt = start(rig, runner)
    rig.consumer.flush()
    reports = rig.consumer.reports

    attempt.run()
    assert reports.is_due
    assert rig.consumer.is_due
    rig.consumer.flush()
    assert not reports

    attempt.reported()
    assert reports
    assert not reports.is_due
    time.now += PAUSE
    assert reports.is_due


def test_a_redis_that_takes_no_report_is_asked_again_later(
    private: RedisBackend, prefix: str, time: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Recording(private.server, prefix)
    enqueue(broker, "a")
    with rigs(broker) as make:
        rig = make()
        reports = rig.consumer.reports
        runner = Runner("default", rig.holder, type(rig))
        runner.reported = reports.add
        start(rig, runner).run()
        broker.server.command("CONFIG", "SET", "maxmemory", "1")
        reports.send()
        broker.server.command("CONFIG", "SET", "maxmemory", "0")
        assert "not kept for now" in caplog.text

        time.now += AGAIN - 0.1
        assert not reports.is_due
        time.now += 0.1
        assert reports.is_due
        reports.send()

    assert kept(broker, "a") is not None


def test_a_broken_key_holds_up_no_outcome(
    rig: Rig, runner: Runner, broker: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue(broker, "a")
    broker.server.command("SET", broker.key(QUEUE, "reports"), "no hash")

    rig.consumer.done(start(rig, runner).run())
    rig.consumer.flush()

    assert state_of(broker, "a") == "succeeded"
    assert "not kept for now" in caplog.text


def test_a_queue_that_takes_nothing_now_is_told_later_and_holds_up_no_other(
    rig: Rig, runner: Runner, broker: Recording, time: Clock
) -> None:
    enqueue(broker, "a")
    start(rig, runner).run()
    reports = rig.consumer.reports
    reports.add(Said("broken", "b"))

    reports.send(lambda queue: queue != "broken")

    assert kept(broker, "a") is not None
    assert reports
    assert not reports.is_due
    time.now += PAUSE
    assert reports.is_due


class Said:
    """A run of another queue that has said something."""

    report = Report()
    number = 1

    def __init__(self, queue: str, id: str) -> None:
        self.grant = Grant(queue, id, b"", Live(fence=1))

    def reported(self) -> None:
        raise AssertionError


def test_what_waits_for_a_redis_that_takes_none_is_bounded(rig: Rig) -> None:
    reports = rig.consumer.reports
    for number in range(2 * MOST):
        reports.add(Said("broken", str(number)))
        reports.send(lambda queue: False)

    assert sum(map(len, reports._fresh.values())) == MOST


def test_jobs_may_report_while_reports_are_sent(
    rig: Rig, runner: Runner, broker: Recording
) -> None:
    """What is added in that moment is neither lost nor does it break the sending."""
    enqueue(broker, "a", "b")
    first, second = start(rig, runner), start(rig, runner)
    first.run()
    second.run()
    reports = rig.consumer.reports
    send = broker.report

    def adding(queue: str, told: Any) -> str:
        first.reported()
        return send(queue, told)

    broker.report = adding  # type: ignore[method-assign]
    reports.send()

    assert reports, "it said something since"
    assert kept(broker, "a")
    assert kept(broker, "b")


def test_a_stale_report_is_told_of(rig: Rig, runner: Runner, broker: Recording) -> None:
    enqueue(broker, "a")
    stale: list[tuple[str, int]] = []
    rig.consumer.reports._stale = lambda *told: stale.append(told)
    attempt = start(rig, runner)
    attempt.run()
    broker.reclaim(QUEUE, rig.holder, b"{}", died=True)

    rig.consumer.reports.send()

    assert stale == [("a", attempt.grant.live.fence)]
    assert kept(broker, "a") is None


def test_outside_a_job_nothing_happens_and_bad_numbers_are_refused_all_the_same() -> None:
    progress(1, 2, "half")
    log("nobody hears")
    assert list(track("abc")) == ["a", "b", "c"]
    with pytest.raises(TypeError, match="is no number"):
        progress("x")  # type: ignore[arg-type]


def test_an_immediate_job_has_its_report() -> None:
    with using_backend(IMMEDIATE):
        result = talk.enqueue(2)

    assert result.progress is not None
    assert result.progress.share == 1
    assert [line.text for line in result.log] == ["begins", "ends"]
    log("the job is over")
    assert [line.text for line in result.log] == ["begins", "ends"]


def test_what_is_logged_in_a_job_stands_in_its_log() -> None:
    logger = logging.getLogger("tests.job_log")
    handler = JobLog(level="INFO")
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        logger.info("before")
        with using_backend(IMMEDIATE):
            result = talk.enqueue(0, logger=logger.name)
    finally:
        logger.removeHandler(handler)

    assert [line.text for line in result.log] == ["begins", "INFO said by a logger", "ends"]
