"""The scheduler fires each tick once, whoever is quicker, and decides about what was missed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_taskq import firing, server_clock, troubles
from django_taskq import periodic as declare
from django_taskq.asks import queue_gates
from django_taskq.backends import RedisBackend
from django_taskq.broker.almanac import Almanac, Record
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from django_taskq.exceptions import BrokerUnavailable, DuplicateJob
from django_taskq.limits import Limit
from django_taskq.periodic import Declaration, _declared
from django_taskq.schedule import LATE, tick_name
from django_taskq.services import scheduler as module
from django_taskq.services.scheduler import HOLD, PAUSE, ROUND, Scheduler
from django_taskq.timetable import Timetable
from tests.broker.helpers import Child, outcome, ready, states
from tests.conftest import FakeTime
from tests.engine import tasks
from tests.engine.support import configured

SECOND = 1_000
HOUR = 3_600_000
LOGGER = "django_taskq.worker"
QUEUE = "default"


class World:
    """Redis' clock and the workers' own, which run alike unless a test says otherwise."""

    def __init__(self, broker: Broker, clock: FakeTime) -> None:
        self.broker = broker
        self.almanac = Almanac(broker)
        self.clock = clock
        self.mine = 5_000.0  # monotonic, seconds

    def scheduler(self, *, has_rows: bool = False) -> Scheduler:
        return Scheduler(self.broker, "default", RedisBackend, 10_000, has_rows=has_rows)

    def forward(self, ms: int) -> int:
        self.mine += ms / 1000
        return self.clock.forward(ms)

    def fired(self, queue: str = QUEUE) -> list[str]:
        """The names of the jobs that are ready, in order."""
        return [id.rpartition(".")[0] for id in ready(self.broker, queue)]

    def end(self) -> None:
        """Everything that is ready succeeds."""
        child = Child(self.broker, queue=QUEUE)
        child.settle(*[outcome(grant, "S", b"1") for grant in child.claim(500)])

    def letters(self, name: str) -> str:
        """What became of a schedule's ticks, the oldest first."""
        return "".join(e.letter for e in reversed(self.almanac.history(QUEUE, name)))

    def record(self, name: str, queue: str = QUEUE) -> Record:
        _, (found,) = self.almanac.agenda(queue, [(name, "")])
        assert found is not None
        return found


@pytest.fixture
def world(
    server: Server, prefix: str, clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    made = World(Broker(server, prefix, now=clock), clock)
    for each in (module, server_clock, firing, troubles):
        monkeypatch.setattr(each, "monotonic", lambda: made.mine)
    monkeypatch.setattr(module, "HOLD", (HOLD[1], HOLD[1]))
    before = dict(_declared)
    _declared.clear()
    yield made
    _declared.clear()
    _declared.update(before)


@pytest.fixture(autouse=True)
def _settings(url: str, prefix: str, settings: Any) -> None:
    settings.TASKS = {"default": configured(url, prefix)}


def tick_until_rest(*schedulers: Scheduler) -> float:
    """Lets them tick until none has anything to do now; the shortest rest."""
    while True:
        rest = min(scheduler.tick() for scheduler in schedulers)
        if rest > 0:
            return rest


def every(seconds: int, name: str = "s", **options: Any) -> str:
    declare(timedelta(seconds=seconds), name=name, tz="UTC", **options)(tasks.nothing)
    return name


# -- the time --------------------------------------------------------------------------------------


def test_it_rests_until_the_next_tick_and_fires_it_then(world: World) -> None:
    every(10)
    scheduler = world.scheduler()
    begun = world.clock()

    assert tick_until_rest(scheduler) == pytest.approx(10, abs=0.01)
    world.forward(9_990)
    tick_until_rest(scheduler)
    assert world.fired() == []
    world.forward(10)
    assert tick_until_rest(scheduler) == pytest.approx(10, abs=0.01)
    assert world.fired() == [tick_name("s", begun + 10_000)]


def test_with_no_schedules_it_asks_redis_nothing(world: World) -> None:
    scheduler = world.scheduler()
    scheduler._almanac = None  # type: ignore[assignment]

    assert scheduler.tick() > 10


def test_a_worker_whose_clock_is_wrong_neither_fires_early_nor_twice(world: World) -> None:
    every(10)
    right, wrong = world.scheduler(), world.scheduler()
    tick_until_rest(right, wrong)
    world.clock.forward(-5_000)  # to both, Redis' clock is 5 s behind what they reckon
    world.forward(10_000)
    tick_until_rest(wrong)

    assert world.fired() == []
    world.forward(5_000)
    tick_until_rest(wrong, right)
    assert len(world.fired()) == 1


def test_when_redis_clock_is_set_forward_ticks_are_not_late(world: World) -> None:
    every(3600)
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    world.clock.forward(HOUR)
    world.mine += 31  # the time is asked for each 30 s
    tick_until_rest(scheduler)

    assert len(world.fired()) == 1


def test_jitter_moves_a_tick_by_the_same_on_every_worker(world: World) -> None:
    every(3600, jitter=600)
    one, other = world.scheduler(), world.scheduler()
    rests = {round(tick_until_rest(each)) for each in (one, other)}
    plans = [each._plans["s"] for each in (one, other)]
    tick = plans[0].tick
    assert tick is not None
    at = plans[0].made.schedule.fires_at("s", tick)

    assert rests <= {31, 30, 29} or len(rests) == 1
    assert 0 < at - tick <= 600_000
    world.forward(at - world.clock() - 1)
    tick_until_rest(one, other)
    assert world.fired() == []
    world.forward(1)
    tick_until_rest(one, other)
    assert world.fired() == [tick_name("s", tick)]


# -- several workers -------------------------------------------------------------------------------


def test_of_several_workers_one_fires_and_none_is_left_out(world: World) -> None:
    every(1, overlap="queue")
    begun = world.clock()
    workers = [world.scheduler() for _ in range(3)]
    for number in range(20):
        if number % 5 == 4:
            workers[number % 3] = world.scheduler()  # a restart
        tick_until_rest(*workers)
        world.forward(SECOND)
    world.forward(SECOND)  # followers look a moment later
    tick_until_rest(*workers)

    ticks = [begun + SECOND * (number + 1) for number in range(21)]
    assert sorted(world.fired()) == sorted(tick_name("s", tick) for tick in ticks)


def test_who_fired_last_is_first_and_another_follows_when_it_is_gone(world: World) -> None:
    every(10, overlap="queue")
    first, other = world.scheduler(), world.scheduler()
    tick_until_rest(first, other)
    world.forward(10_000)
    tick_until_rest(first)
    tick_until_rest(other)
    assert len(world.fired()) == 1

    world.forward(10_000)
    tick_until_rest(other)
    assert len(world.fired()) == 1, "it is left to the first"
    world.forward(SECOND)
    tick_until_rest(other)
    assert len(world.fired()) == 2, "which is gone"
    world.forward(9_000)
    tick_until_rest(other)
    assert len(world.fired()) == 3, "now it leads"


def test_a_worker_of_other_queues_fires_too(world: World) -> None:
    declare("@every 1s", tz="UTC", name="low", queue_name="low")(tasks.nothing)
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    world.forward(SECOND)
    tick_until_rest(scheduler)

    assert len(world.fired("low")) == 1


def test_schedules_of_another_backend_are_left_to_its_workers(
    world: World, url: str, prefix: str, settings: Any
) -> None:
    settings.TASKS = {
        "default": configured(url, prefix),
        "other": configured(url, prefix + "x"),
    }
    declare("@every 1s", tz="UTC", name="elsewhere", backend="other")(tasks.nothing)
    scheduler = world.scheduler()
    tick_until_rest(scheduler)

    assert scheduler._plans == {}


# -- what was missed -------------------------------------------------------------------------------


def missed(world: World, ticks: int, **options: Any) -> str:
    """A minute's schedule that nobody looked after for so many ticks; what became of them."""
    name = every(60, overlap="queue", **options)
    tick_until_rest(world.scheduler())
    world.clock.now -= world.clock.now % 60_000
    world.forward(60_000 * ticks + LATE + 25_000)
    tick_until_rest(world.scheduler())
    return world.letters(name)


def test_of_missed_ticks_skip_makes_up_for_none(world: World) -> None:
    assert missed(world, 5, catch_up="skip") == "M"
    assert world.almanac.history(QUEUE, "s")[0].detail == "5"
    assert world.fired() == []


def test_of_missed_ticks_one_makes_up_for_the_last(world: World) -> None:
    newest = (world.clock() // 60_000 + 5) * 60_000

    assert missed(world, 5, catch_up="one") == "MN"
    assert world.fired() == [tick_name("s", newest)]


def test_of_missed_ticks_all_makes_up_for_each(world: World) -> None:
    assert missed(world, 5, catch_up="all") == "NNNNN"


def test_what_is_only_a_little_late_was_not_missed(world: World) -> None:
    every(1, overlap="queue", catch_up="skip")
    tick_until_rest(world.scheduler())
    world.forward(LATE)
    tick_until_rest(world.scheduler())

    assert len(world.fired()) == LATE // SECOND


def test_one_run_too_many_is_spared_when_the_next_is_due_now(world: World) -> None:
    every(1, overlap="queue", catch_up="one")
    tick_until_rest(world.scheduler())
    world.forward(LATE + 60_000)
    tick_until_rest(world.scheduler())

    assert world.letters("s").replace("N", "") == "M"
    assert len(world.fired()) <= LATE // SECOND + 1


def test_more_than_a_thousand_missed_ticks_are_not_all_made_up_for(world: World) -> None:
    every(1, overlap="queue", catch_up="all")
    tick_until_rest(world.scheduler())
    world.forward(5_000_000)
    tick_until_rest(world.scheduler())

    assert len(world.fired()) == pytest.approx(1_000, abs=LATE // SECOND + 2)


def test_a_long_time_without_workers_is_not_walked_through(world: World) -> None:
    declare("* * * * * *", tz="UTC", name="s", catch_up="one")(tasks.nothing)
    tick_until_rest(world.scheduler())
    world.forward(365 * 24 * HOUR)
    calls = 0
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    plan = scheduler._plans["s"]
    plain = plan.made.schedule._next

    def counting(moment: int) -> int:
        nonlocal calls
        calls += 1
        return plain(moment)

    object.__setattr__(plan.made.schedule, "_next", counting)
    plan.made.schedule.backlog(world.clock() - 365 * 24 * HOUR, world.clock())
    assert 0 < calls < 2_000


# -- overlap ---------------------------------------------------------------------------------------


def test_a_tick_is_skipped_while_the_last_ones_job_runs(world: World) -> None:
    every(10)
    scheduler = world.scheduler()
    for _ in range(2):
        tick_until_rest(scheduler)
        world.forward(10_000)
    tick_until_rest(scheduler)
    world.end()
    world.forward(10_000)
    tick_until_rest(scheduler)

    assert world.letters("s") == "NON"


def test_replace_cancels_the_job_before_and_fires(world: World) -> None:
    every(10, overlap="replace")
    scheduler = world.scheduler()
    for _ in range(2):
        tick_until_rest(scheduler)
        world.forward(10_000)
    child = Child(world.broker, queue=QUEUE)
    (running,) = child.claim()
    tick_until_rest(scheduler)

    assert world.letters("s") == "NN"
    assert states(world.broker, QUEUE)["running"] == [running.id]
    assert child.settle(outcome(running, "S", b"1")) == "C"
    world.forward(10_000)
    tick_until_rest(scheduler)
    assert len(states(world.broker, QUEUE)["cancelled"]) == 2
    assert len(world.fired()) == 1


# -- changes ---------------------------------------------------------------------------------------


def row(**fields: Any) -> Declaration:
    given: dict[str, Any] = {
        "name": "s",
        "task": tasks.nothing.module_path,
        "expression": "@every 10s",
        "tz": "UTC",
    }
    return Declaration(**(given | fields))


def test_a_row_is_fired_with_its_arguments_as_the_annotations_name_them(world: World) -> None:
    scheduler = world.scheduler()
    scheduler.follow([row(task=tasks.add.module_path, args=[1], kwargs={"b": 2})])
    tick_until_rest(scheduler)
    world.forward(10_000)
    tick_until_rest(scheduler)

    (grant,) = Child(world.broker, queue=QUEUE).claim()
    assert b'[1],{"b":2}' in grant.envelope


def test_a_row_stands_before_the_schedule_in_code(world: World) -> None:
    every(10)
    scheduler = world.scheduler()
    scheduler.follow([row(enabled=False)])
    tick_until_rest(scheduler)
    world.forward(10_000)
    tick_until_rest(scheduler)
    assert world.fired() == []

    scheduler.follow([])
    tick_until_rest(scheduler)
    world.forward(10_000)
    tick_until_rest(scheduler)
    assert len(world.fired()) == 1


def test_until_rows_are_known_nothing_is_begun_that_a_row_may_stand_before(
    world: World,
) -> None:
    every(10)
    every(10, "code")
    before = world.scheduler()
    before.follow([row(expression="@every 20s", args=[])])
    tick_until_rest(before)
    scheduler = world.scheduler(has_rows=True)
    assert scheduler.tick() == pytest.approx(10, abs=0.1), "they may come"
    world.forward(10_000)

    tick_until_rest(scheduler)  # they did not, in ten seconds
    assert (world.letters("s"), world.letters("code")) == ("", "N")
    scheduler.follow([row(expression="@every 20s", args=[])])
    world.forward(10_000)
    tick_until_rest(scheduler)
    assert world.letters("s") == "N"


def test_rows_that_cannot_be_read_hold_up_no_schedule_in_code(world: World) -> None:
    every(10)
    scheduler = world.scheduler(has_rows=True)
    scheduler.follow(None)
    tick_until_rest(scheduler)
    world.forward(10_000)
    tick_until_rest(scheduler)

    assert len(world.fired()) == 1


def test_other_times_count_from_now_on_and_make_up_for_nothing(world: World) -> None:
    scheduler = world.scheduler()
    scheduler.follow([row(expression="0 3 * * *")])
    tick_until_rest(scheduler)
    world.forward(6 * HOUR)
    scheduler.follow([row(expression="0 * * * *")])
    rest = tick_until_rest(scheduler)

    assert world.letters("s").count("N") <= 1, "only what was due at 3"
    assert rest <= 30
    plan = scheduler._plans["s"]
    assert plan.tick is not None
    assert plan.tick > world.clock()


def test_one_that_is_taken_away_stops(world: World) -> None:
    scheduler = world.scheduler()
    scheduler.follow([row()])
    tick_until_rest(scheduler)
    scheduler.follow([])
    world.forward(10_000)
    tick_until_rest(scheduler)

    assert world.fired() == []


def test_a_row_that_cannot_be_run_is_said_and_stops_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = world.scheduler()
    bad = [
        row(name="unknown", task="shop.tasks.gone"),
        row(name="misfit", task=tasks.add.module_path, args=[1, 2, 3]),
        row(name="never", expression="0 0 30 2 *"),
        row(name="nowhere", tz="Europe/Atlantis"),
    ]
    scheduler.follow([*bad, row()])
    with caplog.at_level(logging.ERROR, LOGGER):
        tick_until_rest(scheduler)
    world.forward(10_000)
    tick_until_rest(scheduler)

    assert len(world.fired()) == 1
    for each in bad:
        assert f"schedule {each.name} is not run" in caplog.text


def test_a_job_that_cannot_be_made_stops_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    declare("@every 10s", tz="UTC", name="large", args=["x" * 20_000])(tasks.urgent)
    every(10)
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    world.forward(10_000)
    with caplog.at_level(logging.ERROR, LOGGER):
        tick_until_rest(scheduler)

    assert len(world.fired()) == 1
    assert "schedule large: its job cannot be made" in caplog.text


def test_a_pause_is_kept_until_it_is_told_to_go_on(world: World) -> None:
    every(10, catch_up="all", overlap="queue")
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    world.almanac.steer(QUEUE, "pause", ["s"])
    for _ in range(3):
        world.forward(10_000)
        tick_until_rest(scheduler)
    assert world.fired() == []

    world.almanac.steer(QUEUE, "resume", ["s"])
    scheduler.look_again()
    tick_until_rest(scheduler)
    assert world.letters("s") == "NNN"


def test_a_pause_that_is_over_is_noticed_though_nobody_said_so(world: World) -> None:
    every(1)
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    world.almanac.steer(QUEUE, "pause", ["s"])
    world.forward(SECOND)
    assert tick_until_rest(scheduler) == pytest.approx(PAUSE, abs=0.1)
    world.almanac.steer(QUEUE, "resume", ["s"])
    world.forward(int(PAUSE * 1000))
    tick_until_rest(scheduler)

    assert world.fired() != []


@pytest.mark.parametrize(("catch_up", "letters"), [("all", "NNN"), ("one", "MN"), ("skip", "M")])
def test_a_pause_that_ends_by_itself_is_as_one_that_was_ended(
    world: World, catch_up: str, letters: str
) -> None:
    every(20, catch_up=catch_up, overlap="queue")
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    world.almanac.steer(QUEUE, "pause", ["s"], 75 * SECOND)
    scheduler.look_again()
    tick_until_rest(scheduler)
    for _ in range(7):
        world.forward(10 * SECOND)
        tick_until_rest(scheduler)
    assert world.fired() == []

    assert tick_until_rest(scheduler) == pytest.approx(5, abs=0.01)  # at its end, not at PAUSE
    world.forward(5 * SECOND)
    tick_until_rest(scheduler)
    assert world.letters("s") == letters


def test_a_tick_right_behind_the_end_of_a_pause_is_in_time(world: World) -> None:
    every(20)
    begun = world.clock()
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    world.almanac.steer(QUEUE, "pause", ["s"], 19 * SECOND)
    scheduler.look_again()
    tick_until_rest(scheduler)
    world.forward(20 * SECOND)
    tick_until_rest(scheduler)

    assert world.fired() == [tick_name("s", begun + 20 * SECOND)]


def test_what_ended_is_over_and_what_has_not_begun_waits(world: World) -> None:
    now = datetime.fromtimestamp(world.clock() / 1000, UTC)
    every(1, "over", overlap="queue", end=now + timedelta(seconds=2))
    every(1, "later", overlap="queue", start=now + timedelta(seconds=5))
    scheduler = world.scheduler()
    for _ in range(6):
        tick_until_rest(scheduler)
        world.forward(SECOND)
    tick_until_rest(scheduler)

    assert (world.letters("over"), world.letters("later")) == ("NN", "NN")


# -- many, and trouble -----------------------------------------------------------------------------


def test_a_thousand_due_at_once_leave_time_for_the_other_services(world: World) -> None:
    scheduler = world.scheduler()
    scheduler.follow([row(name=f"s{number}") for number in range(1_000)])
    tick_until_rest(scheduler)
    world.forward(10_000)

    rounds = 0
    while scheduler.tick() == 0:
        rounds += 1

    assert len(world.fired()) == 1_000
    assert rounds >= 9


def test_an_outage_loses_no_schedule(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    every(10)
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    world.forward(10_000)
    plain = Almanac.tick

    def away(*args: Any) -> Any:
        raise BrokerUnavailable("away")

    monkeypatch.setattr(Almanac, "tick", away)
    assert 0 < tick_until_rest(scheduler) <= scheduler.longest_delay
    monkeypatch.setattr(Almanac, "tick", plain)
    world.mine += scheduler.longest_delay
    tick_until_rest(scheduler)

    assert len(world.fired()) == 1


def test_a_queue_that_is_broken_holds_up_the_schedules_of_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """From the beginning, when one is taken up anew, and when ticks are due."""
    every(60, "broken", queue_name="low", overlap="queue")
    ticks = world.broker.key("low", "ticks")
    world.broker.server.command("SET", ticks, "what a person did")
    every(10, "sound", overlap="queue")
    scheduler = world.scheduler()
    for _ in range(3):
        tick_until_rest(scheduler)
        world.forward(10_000)
        scheduler.look_again()
    tick_until_rest(scheduler)

    assert len(world.fired()) == 3
    assert caplog.text.count("queue low: scheduler failed") == 1
    world.broker.server.command("DEL", ticks)
    for _ in range(8):
        world.forward(10_000)
        tick_until_rest(scheduler)
    assert len(world.fired("low")) >= 1
    assert "queue low: scheduler works again" in caplog.text


def test_a_queue_that_breaks_later_is_fired_when_it_is_mended(world: World) -> None:
    every(10, "broken", queue_name="low", overlap="queue")
    every(10, "sound", overlap="queue")
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    log = world.broker.key("low", "tick_log")
    world.broker.server.command("SET", log, "what a person did")
    for _ in range(3):
        world.forward(10_000)
        tick_until_rest(scheduler)

    assert len(world.fired()) == 3
    assert world.fired("low") == []
    world.broker.server.command("DEL", log)
    for _ in range(2):
        world.forward(10_000)
        tick_until_rest(scheduler)
    assert len(world.fired("low")) >= 1


def test_what_nobody_declares_any_more_is_forgotten_after_a_while(world: World) -> None:
    every(3600, "gone")
    every(3600, "gone too", queue_name="low")  # the only one there
    world.broker.number("low")
    tick_until_rest(world.scheduler())
    _declared.clear()
    every(3600, "kept")
    scheduler = world.scheduler()
    for _ in range(31):
        world.forward(24 * HOUR)
        tick_until_rest(scheduler)
        world.mine += ROUND * 1.3
        tick_until_rest(scheduler)

    assert world.almanac.agenda(QUEUE, [("gone", "")])[1] == [None]
    assert world.almanac.agenda("low", [("gone too", "")])[1] == [None]
    assert world.record("kept").seen > 0


def test_the_enqueued_signal_is_sent_and_a_bad_receiver_stops_nothing(world: World) -> None:
    from django_taskq.compat import task_enqueued

    heard: list[Any] = []

    def receiver(sender: type, task_result: Any, **kwargs: Any) -> None:
        heard.append((sender, task_result.task, task_result.enqueued_at is not None))
        raise ValueError("bad receiver")

    every(10)
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    world.forward(10_000)
    task_enqueued.connect(receiver)
    try:
        tick_until_rest(scheduler)
    finally:
        task_enqueued.disconnect(receiver)

    assert heard == [(RedisBackend, tasks.nothing, True)]


# -- locks and limits ------------------------------------------------------------------------------


def test_a_tick_whose_lock_another_job_has_makes_no_job(world: World) -> None:
    declare(timedelta(seconds=10), name="s", tz="UTC", overlap="queue")(tasks.lonely)
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    for _ in range(2):
        world.forward(10 * SECOND)
        tick_until_rest(scheduler)
    assert len(world.fired()) == 1

    world.end()
    world.forward(10 * SECOND)
    tick_until_rest(scheduler)

    assert len(world.fired()) == 1
    assert world.letters("s") == "NUN"


@pytest.mark.django_db
def test_a_run_by_hand_says_that_another_job_has_the_lock(world: World) -> None:
    declare(timedelta(seconds=10), name="s", tz="UTC")(tasks.lonely)
    table = Timetable(world.broker, "default", RedisBackend, 10_000)
    table.run("s")
    with pytest.raises(DuplicateJob, match=r"schedule s: another job has the lock of .*lonely"):
        table.run("s")
    assert len(world.fired()) == 1


def test_the_limits_of_a_queue_are_for_ticks_too(world: World) -> None:
    world.broker.gates = queue_gates({QUEUE: Limit(1)})
    every(10, "a")
    every(10, "b")
    scheduler = world.scheduler()
    tick_until_rest(scheduler)
    world.forward(10 * SECOND)
    tick_until_rest(scheduler)
    assert len(world.fired()) == 2
    assert len(Child(world.broker, queue=QUEUE).claim(10)) == 1
