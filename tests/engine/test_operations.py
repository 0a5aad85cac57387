"""What an operator does to jobs of tasks: verbs, moves, other arguments, all that match."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from django_taskq import bulk as work
from django_taskq.backends import RedisBackend
from django_taskq.broker.inspector import Inspector, Row
from django_taskq.broker.steering import Steering
from django_taskq.clock import now_ms
from django_taskq.codec import LATEST
from django_taskq.exceptions import ArgumentsDoNotBind, InvalidArgument, InvalidOption
from django_taskq.finding import Filter
from django_taskq.frames import culprit
from django_taskq.grouping import groups
from django_taskq.job import State
from django_taskq.operations import Changes, Operations, Params, check
from django_taskq.result import TaskResult
from django_taskq.showing import summary
from django_taskq.tasks import enqueue_bulk
from tests.engine import tasks
from tests.engine.support import QUEUES, Hand

BY = Params(by="ada")


@pytest.fixture
def operations(backend: RedisBackend) -> Operations:
    return Operations(backend.broker)


@pytest.fixture
def rows(backend: RedisBackend) -> Callable[..., list[Row]]:
    """The jobs of these results as an operator has them."""

    def read(*results: TaskResult) -> list[Row]:
        inspector = Inspector(backend.broker)
        return [
            row for result in results for row in inspector.peek(result.task.queue_name, [result.id])
        ]

    return read


def test_a_dead_job_is_retried(
    hand: Hand, operations: Operations, rows: Callable[..., list[Row]]
) -> None:
    result = tasks.fail.using(max_attempts=1).enqueue()
    hand.run()

    assert operations.apply("retry", rows(result), BY) == {"done": 1}

    result.refresh()
    assert result.state is State.READY


def test_a_cancelled_job_says_who_did_it(
    operations: Operations, rows: Callable[..., list[Row]]
) -> None:
    result = tasks.nothing.enqueue()

    assert operations.apply("cancel", rows(result), BY) == {"done": 1}

    result.refresh()
    assert result.state is State.CANCELLED
    assert "cancelled by ada" in result.errors[-1].traceback


def test_a_job_that_has_not_started_is_deleted_within_seconds(
    operations: Operations, rows: Callable[..., list[Row]], hand: Hand
) -> None:
    result, running = tasks.nothing.enqueue_many([(), ()])
    hand.claim(1)

    done = operations.apply("delete", rows(result, running), BY)

    assert done == {"later": 1, "refused": 1}


@pytest.mark.parametrize("seconds", [0, 60, 3600])
def test_a_job_goes_on_in_another_queue(
    backend: RedisBackend,
    operations: Operations,
    rows: Callable[..., list[Row]],
    hand: Hand,
    seconds: int,
) -> None:
    when = {"run_after": seconds} if seconds else {}
    result = tasks.add.using(priority=5, **when).enqueue(1)

    assert operations.apply("move", rows(result), Params(by="ada", queue="low")) == {"done": 1}

    result.refresh()
    assert result.state is State.CANCELLED
    assert "moved to queue low" in result.errors[-1].traceback
    state = State.SCHEDULED if seconds else State.READY
    (row,) = Inspector(backend.broker).page(["low"], state).rows
    copy = backend.get_result(row.id)
    assert (copy.args, copy.task.priority, copy.task.queue_name) == ([1], 5, "low")
    if seconds:
        assert abs(float(row.score) - now_ms() - seconds * 1000) < 30_000
    else:
        (outcome,) = hand.run(queue="low")
        assert outcome.kind == "S"


def test_what_started_meanwhile_is_not_moved(
    backend: RedisBackend, operations: Operations, rows: Callable[..., list[Row]], hand: Hand
) -> None:
    """It was seen as ready, and a worker takes it between the copy and the end of the old one."""
    result = tasks.nothing.enqueue()
    seen = rows(result)
    (before,) = backend.broker.fetch("default", [result.id])
    hand.claim(1)

    word = operations._move("default", seen[0], before, Params(by="ada", queue="low"))

    assert word == "refused"
    result.refresh()
    assert result.state is State.RUNNING
    assert [
        (name, count)
        for name, count in Inspector(backend.broker).queue("low").states.items()
        if count
    ] == [(State.CANCELLED, 1)]


def test_a_mover_that_dies_loses_nothing(
    backend: RedisBackend,
    operations: Operations,
    rows: Callable[..., list[Row]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = tasks.nothing.enqueue()
    for step in ("withdraw", "advance"):
        with monkeypatch.context() as patch:

            def die(*args: Any) -> Any:
                raise KeyboardInterrupt

            patch.setattr(operations.steering, step, die)
            with pytest.raises(KeyboardInterrupt):
                operations.apply("move", rows(result), Params(by="ada", queue="low"))
        states = Inspector(backend.broker).queue("low").states
        assert states[State.SCHEDULED] >= 1  # it will run by itself
    assert Inspector(backend.broker).queue("default").states[State.CANCELLED] == 1


# -- arguments -------------------------------------------------------------------------------------


def test_a_job_runs_with_other_arguments(
    backend: RedisBackend, operations: Operations, hand: Hand
) -> None:
    result = tasks.add.enqueue(1)

    assert operations.edit("default", result.id, Changes(positional={0: 4}, named={"b": 3})) == "O"

    hand.run()
    ran = backend.get_result(result.id)
    assert (ran.args, ran.kwargs, ran.return_value) == ([4], {"b": 3}, 7)


def test_arguments_that_do_not_fit_are_refused_in_words(operations: Operations) -> None:
    result = tasks.add.enqueue(1)

    with pytest.raises(ArgumentsDoNotBind, match="nonsense"):
        operations.edit("default", result.id, Changes(named={"nonsense": 1}))

    result.refresh()
    assert result.args == [1]


@pytest.mark.parametrize(
    ("verb", "params", "words"),
    [
        ("explode", BY, "unknown verb"),
        ("prioritize", BY._replace(priority=101), "-100 to 100"),
        ("move", BY._replace(queue="no such"), "no queue can have"),
        ("move", BY._replace(queue="elsewhere"), "not in QUEUES"),
        ("retry_at", BY, "when"),
        ("retry_at", BY._replace(due=LATEST), "when"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is(
    verb: str, params: Params, words: str
) -> None:
    with pytest.raises(InvalidOption, match=words):
        check(verb, params, ["default", "low"])


# -- all that match --------------------------------------------------------------------------------


def order(verb: str, wanted: Filter, *states: State, **params: Any) -> work.Order:
    return work.Order(
        verb, ["default", "low"], [*states], wanted, BY._replace(**params), now_ms() + 1000
    )


def test_everything_that_matches_is_done_in_one_job(
    backend: RedisBackend, hand: Hand, jobs: Callable[..., list[str]]
) -> None:
    tasks.add.enqueue_many([(n,) for n in range(150)])
    others = tasks.nothing.enqueue_many([()] * 20)
    result = enqueue_bulk(
        "default", order("cancel", Filter(task=tasks.add.module_path), State.READY)
    )

    (outcome,) = hand.run(1, result.task.queue_name)

    assert outcome.kind == "S", outcome.blob
    assert sorted(jobs(State.READY)) == sorted(other.id for other in others)
    assert len(jobs(State.CANCELLED)) == 150
    (tally,) = Inspector(backend.broker).tallies([result.task.queue_name])["critical"]
    progress = work.decode_progress(tally.text)
    assert progress is not None
    assert (tally.id, progress.ended, progress.looked, progress.counts) == (
        result.id,
        True,
        170,
        {"done": 150},
    )


@pytest.mark.parametrize(
    ("paused", "served", "queue"),
    [
        ("", "", "critical"),
        ("critical", "", "default"),
        ("", "low", "low"),
        ("", "low default", "default"),
        ("critical", "critical low", "low"),
        ("critical", "critical", "default"),
        ("critical default low", "", "critical"),
    ],
)
def test_work_goes_where_it_is_taken(
    backend: RedisBackend, hand: Hand, paused: str, served: str, queue: str
) -> None:
    """The largest weight is of no use in a queue that is paused, or that nobody serves."""
    wanted = order("cancel", Filter(), State.READY)
    for name in paused.split():
        Steering(backend.broker).pause(name, b"{}")
    for name in served.split():
        hand.exchange(name)
    states = Inspector(backend.broker).queues([*QUEUES])

    result = enqueue_bulk("default", wanted, states)

    assert result.task.queue_name == queue
    assert work.from_json(result.args[0]) == wanted


@pytest.mark.parametrize(
    ("verb", "params"), [("prioritize", {"priority": -5}), ("retry_at", {"due": 10**13})]
)
def test_what_moves_behind_within_its_set_is_met_once(
    operations: Operations, verb: str, params: dict[str, Any]
) -> None:
    state = State.READY if verb == "prioritize" else State.SCHEDULED
    later = {"run_after": 3600} if verb == "retry_at" else {}
    tasks.nothing.using(**later).enqueue_many([()] * 250)

    done = work.carry_out(operations, order(verb, Filter(), state, **params), "", lambda p: None)

    assert done == {"done": 250}


def test_what_failed_again_since_is_not_retried_for_ever(
    operations: Operations, hand: Hand, jobs: Callable[..., list[str]]
) -> None:
    tasks.fail.using(max_attempts=1).enqueue_many([()] * 3)
    hand.run()
    time_of_order = order("retry", Filter(), State.DEAD)._replace(asked=now_ms())

    def meanwhile(progress: work.Progress) -> None:
        deadline = time.monotonic() + 5
        while now_ms() <= time_of_order.asked and time.monotonic() < deadline:
            pass  # a later millisecond: that is what tells the two failures apart
        hand.run()

    done = work.carry_out(operations, time_of_order, "", meanwhile)

    assert done == {"done": 3}
    assert len(jobs(State.DEAD)) == 3


# -- finding and showing ---------------------------------------------------------------------------


def test_failures_with_one_cause_are_one_group(backend: RedisBackend, hand: Hand) -> None:
    tasks.fail.using(max_attempts=1).enqueue_many([()] * 3)
    tasks.fail.enqueue()
    hand.run()
    sizes = {("default", State.DEAD): 3, ("default", State.RETRYING): 1}

    page = Inspector(backend.broker).newest(sizes, 100, tail=20_000).page
    (group,) = groups(page.rows, None)

    assert (group.jobs, group.fingerprint.task) == (4, tasks.fail.module_path)
    assert group.states == {"dead": 3, "retrying": 1}
    assert group.fingerprint.place.endswith("tests/engine/tasks.py: fail")
    assert group.first <= group.last


def test_a_search_for_a_text_tells_nothing_of_what_is_sensitive(backend: RedisBackend) -> None:
    from tests.security.tasks import log_in

    result = log_in.enqueue("ada", "hunter2-hunter2")
    (row,) = Inspector(backend.broker).peek("default", [result.id])

    assert Filter(text="ada").is_meant(row, None)
    assert not Filter(text="hunter2").is_meant(row, None)
    assert "hunter2" not in summary(row, None).arguments
    assert "hunter2" not in repr(summary(row, None))


def test_the_frame_to_look_at_is_the_projects_innermost() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/srv/app/shop/tasks.py", line 7, in send\n    connect()\n'
        '  File "/usr/lib/python3.12/socket.py", line 9, in connect\n    raise OSError\n'
        "OSError: no\n\nThe above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n"
        '  File "/x/site-packages/requests/api.py", line 1, in get\n    pass\n'
        "ValueError: two\nlines\n"
    )

    frame = culprit(text)

    assert frame is not None
    assert (frame.short_file, frame.function, frame.is_app) == ("app/shop/tasks.py", "send", True)
    assert culprit("no traceback") is None


def test_a_job_takes_its_lock_along_to_another_queue(
    backend: RedisBackend, operations: Operations, rows: Callable[..., list[Row]]
) -> None:
    result = tasks.once.enqueue(1)
    other = tasks.once.using(queue_name="low").enqueue(1)
    assert operations.apply("move", rows(result), Params(by="ada", queue="low")) == {"refused": 1}
    other.cancel()

    assert operations.apply("move", rows(result), Params(by="ada", queue="low")) == {"done": 1}

    assert tasks.once.using(queue_name="low").enqueue(1).duplicate
    assert not tasks.once.enqueue(1).duplicate


@pytest.mark.parametrize("odd", ["gone", "no key", "too large"])
def test_one_job_that_cannot_be_moved_stops_no_others(
    backend: RedisBackend,
    operations: Operations,
    rows: Callable[..., list[Row]],
    monkeypatch: pytest.MonkeyPatch,
    odd: str,
) -> None:
    monkeypatch.setattr(tasks, "ROWS", {1: "a", 2: "b"})
    bad = tasks.of_row.enqueue(1) if odd != "too large" else tasks.fail.enqueue("x" * 1000)
    good = tasks.of_row.enqueue(2)
    if odd == "gone":
        del tasks.ROWS[1]
    elif odd == "no key":
        tasks.ROWS[1] = None
    else:
        operations.limit = 500

    done = operations.apply("move", rows(bad, good), Params(by="ada", queue="low"))

    assert done == {"refused": 1, "done": 1}
    bad.refresh()
    assert bad.state is State.READY


def test_arguments_from_which_a_lock_follows_are_not_changed(operations: Operations) -> None:
    result = tasks.once.enqueue(1)

    with pytest.raises(InvalidArgument, match="its lock, limit or turn"):
        operations.edit("default", result.id, Changes(positional={0: 2}))
