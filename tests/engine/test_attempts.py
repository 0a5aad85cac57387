"""One attempt, without Redis: what is prepared, what is run, what it comes to."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import pytest

from django_taskq import Task, registry
from django_taskq.backends import RedisBackend
from django_taskq.codec import decode_failures, encode_envelope, encode_failure
from django_taskq.compat import TaskResultStatus, task_finished, task_started
from django_taskq.exceptions import (
    CancelRequested,
    JobCancelled,
    JobExpired,
    LeaseLost,
    MalformedJob,
    TaskTimeout,
)
from django_taskq.execution import Attempt, Runner
from django_taskq.job import Envelope, Failure, Grant, Kind, Live, Outcome, State
from django_taskq.result import TaskResult
from tests.engine.support import IMMEDIATE, using_backend
from tests.engine.tasks import (
    Point,
    aadd,
    add,
    afail,
    choosy,
    contextual,
    control,
    fail,
    large,
    leave,
    nothing,
    opaque,
    typed,
)

HOLDER = "holder-of-these-tests-"
DAY = 86_400_000


def grant_of(
    task: Task, *args: Any, envelope: bytes = b"", errors: bytes = b"", **live: Any
) -> Grant:
    """What a worker is given to run ``task``; ``live``: fields of its record."""
    raw = envelope or encode_envelope(
        Envelope(t=task.module_path, e=1, a=list(args), o=task.overrides), 1 << 20
    )
    return Grant("default", "x.1", raw, Live(**{"fence": 1, "holder": HOLDER, **live}), errors)


def prepared(task: Task, *args: Any, now: int = 1, **more: Any) -> Attempt | Outcome:
    return Runner("default", HOLDER, RedisBackend).prepare(grant_of(task, *args, **more), now)


def attempt(task: Task, *args: Any, **more: Any) -> Attempt:
    made = prepared(task, *args, **more)
    assert isinstance(made, Attempt)
    return made


def run(task: Task, *args: Any, **more: Any) -> Outcome:
    return attempt(task, *args, **more).run_here()


def failure_in(outcome: Outcome) -> Failure:
    (failure,) = decode_failures(outcome.blob)
    return failure


# --- resolve and bind -----------------------------------------------------------------------------


def test_a_job_is_run_with_the_options_it_was_enqueued_with() -> None:
    made = attempt(add.using(timeout=3, max_attempts=7), 1)
    assert made.task.func is add.func
    assert (made.task.options.timeout, made.task.options.max_attempts) == (3.0, 7)
    assert made.task.queue_name == "default"


def test_an_unknown_task_is_parked_under_its_name() -> None:
    outcome = prepared(nothing, envelope=b'["gone.tasks.send",1]')
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.task) == (Kind.PARKED, "gone.tasks.send")
    assert b"no task of this name" in outcome.blob


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "tests.engine.tasks.Point"])
def test_a_name_in_redis_never_leads_to_anything_but_a_task(name: str) -> None:
    outcome = prepared(nothing, envelope=f'["{name}",1,["true"]]'.encode())
    assert isinstance(outcome, Outcome)
    assert outcome.kind is Kind.PARKED


def test_a_name_in_redis_never_imports_anything() -> None:
    assert "this" not in sys.modules
    before = set(sys.modules)
    prepared(nothing, envelope=b'["this.s",1]')
    prepared(nothing, envelope=b'["antigravity",1,[],{},{"retry_on":["this.s"]}]')
    assert set(sys.modules) == before


def test_a_strange_name_is_parked_under_a_plain_one() -> None:
    outcome = prepared(nothing, envelope='["a b\\nü",1]'.encode())
    assert isinstance(outcome, Outcome)
    assert outcome.task == "a_b__"


@pytest.mark.parametrize(
    ("task", "args"), [(add, ()), (add, (1, 2, 3)), (typed, ("no date", 1, "1", "x", {}))]
)
def test_arguments_that_no_longer_bind_are_parked_with_the_reason(task: Task, args: Any) -> None:
    outcome = prepared(task, *args)
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.task) == (Kind.PARKED, task.module_path)
    assert outcome.blob


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b"null", b"[1]", b'["",1]', b"{"])
def test_garbage_is_quarantined_as_dead(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    grant = Grant("default", "x.1", raw, Live(fence=1))
    outcome = Runner("default", HOLDER, RedisBackend).prepare(grant, 1)
    assert isinstance(outcome, Outcome)
    assert outcome.kind is Kind.QUARANTINED
    assert failure_in(outcome).c.endswith(MalformedJob.__name__)
    assert "x.1" in caplog.text


def test_a_job_that_is_too_late_ends_cancelled() -> None:
    outcome = prepared(add, 1, expires=1000, now=1000)
    assert isinstance(outcome, Outcome)
    assert outcome.kind is Kind.CANCELLED
    assert failure_in(outcome).c.endswith(JobExpired.__name__)


def test_a_job_that_is_just_in_time_runs() -> None:
    assert run(add, 1, expires=1000, now=999).kind is Kind.SUCCEEDED


# --- success --------------------------------------------------------------------------------------


def test_a_value_is_encoded_and_kept_as_long_as_the_task_says() -> None:
    outcome = run(add.using(retention=5), 1, 2)
    assert (outcome.kind, outcome.blob, outcome.delay) == (Kind.SUCCEEDED, b"3", 5000)
    assert outcome.started > 0


def test_none_takes_no_room() -> None:
    assert run(nothing).blob == b""


def test_arguments_come_back_as_their_annotations_name_them(ran: list[Any]) -> None:
    key = "00000000-0000-0000-0000-000000000007"
    outcome = run(typed, "2026-01-02", "PT1H", "1.10", key, {"x": 1, "y": 2})
    assert outcome.blob == b'"2026-01-02"'
    assert ran[0][4] == Point(1, 2)


def test_an_async_task_runs_on_a_loop() -> None:
    assert run(aadd, 1, 2).blob == b"3"
    assert asyncio.run(attempt(aadd, 1, 2).run_async()).blob == b"3"


def test_a_value_that_cannot_be_kept_is_dead_and_not_run_again(ran: list[Any]) -> None:
    outcome = run(opaque)
    assert outcome.kind is Kind.DEAD
    assert "return value is a lock" in failure_in(outcome).m
    assert ran == ["opaque"]


def test_a_value_that_is_too_large_is_dead_and_not_run_again() -> None:
    runner = Runner("default", HOLDER, RedisBackend, result_limit=1000)
    made = runner.prepare(grant_of(large), 1)
    assert isinstance(made, Attempt)
    outcome = made.run()
    assert outcome.kind is Kind.DEAD
    assert "MAX_PAYLOAD" in failure_in(outcome).m


# --- failure --------------------------------------------------------------------------------------


def test_a_failure_is_tried_again_after_the_backoff() -> None:
    outcome = run(choosy, "os")
    assert (outcome.kind, outcome.delay) == (Kind.RETRYING, 7000)
    failure = failure_in(outcome)
    assert (failure.c, failure.m, failure.w, failure.n) == ("builtins.OSError", "os", HOLDER, 1)
    assert "Traceback" in failure.b
    assert 0 < failure.s <= failure.f


@pytest.mark.parametrize(
    ("error", "kind"), [("index", "R"), ("os", "R"), ("key", "D"), ("value", "D")]
)
def test_retry_on_and_give_up_on_decide(error: str, kind: str) -> None:
    assert run(choosy, error).kind == kind


def test_the_last_attempt_is_dead() -> None:
    assert run(fail, attempt=0).kind is Kind.RETRYING
    outcome = run(fail, attempt=1)
    assert (outcome.kind, outcome.delay) == (Kind.DEAD, 90 * DAY)
    assert failure_in(outcome).n == 2


def test_an_async_failure_is_one_too() -> None:
    assert run(afail).kind is Kind.RETRYING


def test_leaving_the_process_is_only_a_failure() -> None:
    assert failure_in(run(leave)).c == "builtins.SystemExit"


def test_a_failure_says_in_which_release_and_how_large_a_process() -> None:
    with using_backend(IMMEDIATE, RELEASE="2.4.1"):
        failure = failure_in(run(fail, "x"))

    assert failure.r == "2.4.1"
    assert 10 << 20 < failure.k < 1 << 40


def test_a_long_traceback_is_cut_in_the_middle() -> None:
    failure = failure_in(run(fail, "x" * 50_000))
    assert len(failure.b) < 20_000
    assert "Traceback" in failure.b
    assert len(failure.m) == 1000


@pytest.mark.parametrize(
    ("kind", "outcome", "delay"),
    [
        ("retry", Kind.RETRYING, 90_000),
        ("fail", Kind.DEAD, 90 * DAY),
        ("cancel", Kind.CANCELLED, DAY),
        ("snooze", Kind.SNOOZED, 30_000),
    ],
)
def test_a_task_says_how_its_attempt_ends(kind: str, outcome: Kind, delay: int) -> None:
    came_to = run(control, kind)
    assert (came_to.kind, came_to.delay) == (outcome, delay)


def test_a_retry_is_bounded_by_max_attempts() -> None:
    assert run(control, "retry", attempt=4).kind is Kind.DEAD


# --- interruptions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TaskTimeout("slow"), Kind.RETRYING),
        (CancelRequested(), Kind.CANCELLED),
        (LeaseLost(), Kind.RETURNED),
    ],
)
def test_an_interruption_is_no_plain_failure(error: BaseException, kind: Kind) -> None:
    made = attempt(add, 1)
    made.begin()
    assert made.fail(error).kind is kind


def test_a_cancelled_coroutine_is_what_it_was_interrupted_for() -> None:
    made = attempt(aadd, 1, 2)
    made.begin()
    made.interrupted = TaskTimeout("slow")
    outcome = made.fail(asyncio.CancelledError())
    assert failure_in(outcome).c.endswith("TaskTimeout")


def test_an_error_of_the_tasks_own_is_not_hidden_by_an_interruption() -> None:
    made = attempt(add, 1)
    made.begin()
    made.interrupted = TaskTimeout("slow")
    assert failure_in(made.fail(KeyError("own"))).c == "builtins.KeyError"


def test_a_requested_cancel_says_so() -> None:
    made = attempt(add, 1)
    made.begin()
    assert failure_in(made.fail(CancelRequested())).c.endswith(JobCancelled.__name__)


# --- context --------------------------------------------------------------------------------------


def test_a_context_knows_the_attempt_and_the_job() -> None:
    assert run(contextual).blob == b'[1,"x.1",[]]'


def test_a_second_attempt_sees_the_first_ones_errors() -> None:
    first = run(contextual, True)
    assert first.kind is Kind.RETRYING
    second = run(contextual, True, attempt=1, errors=first.blob)
    assert second.blob == b'[2,"x.1",["builtins.ValueError"]]'


def test_the_context_has_the_jobs_own_task() -> None:
    made = attempt(contextual.using(timeout=3))
    made.begin()
    assert made.result.task.options.timeout == 3
    assert made.result.status == TaskResultStatus.RUNNING


# --- signals --------------------------------------------------------------------------------------


@pytest.fixture
def heard() -> Any:
    """(signal, sender, status, error in sys.exc_info) of each signal, in order."""
    seen: list[tuple[str, type, str, type | None]] = []

    def receiver(sender: type, task_result: TaskResult, signal: Any, **kwargs: Any) -> None:
        name = "started" if signal is task_started else "finished"
        seen.append((name, sender, str(task_result.status.name), sys.exc_info()[0]))

    for signal in (task_started, task_finished):
        signal.connect(receiver)
    yield seen
    for signal in (task_started, task_finished):
        signal.disconnect(receiver)


def test_signals_frame_a_success(heard: Any) -> None:
    run(add, 1)
    assert heard == [
        ("started", RedisBackend, "RUNNING", None),
        ("finished", RedisBackend, "SUCCESSFUL", None),
    ]


def test_a_final_failure_is_sent_while_its_error_is_handled(heard: Any) -> None:
    run(fail, attempt=1)
    assert heard[1:] == [("finished", RedisBackend, "FAILED", ValueError)]


def test_an_attempt_that_is_tried_again_has_not_finished(heard: Any) -> None:
    run(fail)
    run(control, "snooze")
    assert [each[0] for each in heard] == ["started", "started"]


def test_a_cancelled_job_has_finished(heard: Any) -> None:
    run(control, "cancel")
    assert [each[2] for each in heard] == ["RUNNING", "FAILED"]


def test_a_receiver_sees_value_and_errors() -> None:
    results: list[TaskResult] = []

    def receiver(sender: type, task_result: TaskResult, **kwargs: Any) -> None:
        results.append(task_result)

    task_finished.connect(receiver)
    try:
        run(add, 1, 2)
        earlier = encode_failure(Failure(c="builtins.OSError", n=1))
        run(fail, attempt=1, errors=earlier)
    finally:
        task_finished.disconnect(receiver)
    success, failure = results
    assert (success.return_value, success.state, success.attempts) == (3, State.SUCCEEDED, 1)
    assert success.finished_at is not None
    assert [e.exception_class for e in failure.errors] == [OSError, ValueError]
    assert (failure.attempts, failure.state) == (2, State.DEAD)


# --- log lines ------------------------------------------------------------------------------------


def test_log_lines_carry_the_job(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "django_taskq.job"):
        run(add, 1)
        run(fail, attempt=1)
    good, bad = (each for each in caplog.records if each.name == "django_taskq.job")
    for record, task, number in ((good, add, 1), (bad, fail, 2)):
        assert record.__dict__["job_id"] == "x.1"
        assert record.__dict__["task"] == task.module_path
        assert record.__dict__["queue"] == "default"
        assert record.__dict__["attempt"] == number
    assert (good.levelname, bad.levelname) == ("INFO", "ERROR")


def test_every_task_here_is_in_the_registry() -> None:
    assert registry.find(add.module_path) is add
    assert add.module_path in registry.names()
