"""Ticks that are due become jobs, or are given up: what to send, and what the answer means."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .broker.almanac import Almanac, Record, Tick, Ticked
from .broker.broker import HOUSEKEEPING, Broker
from .client import CANCELLED_BY
from .clock import monotonic
from .codec import printable
from .exceptions import BrokerError
from .job import Failure
from .periodic import Periodic
from .recipe import Prepared, Recipe
from .result import mark_enqueued
from .schedule import tick_name
from .signals import ENQUEUED

logger = logging.getLogger("django_taskq.worker")


@dataclass(eq=False)
class Plan:
    """A schedule as one worker follows it. ``tick``: the next, ms of Redis' clock."""

    made: Periodic
    record: Record
    tick: int | None = None
    leads: bool = True  # nobody else fired its last tick
    trouble: bool = False  # its job could not be made


def job_of(made: Periodic, name: str, broker: Broker, alias: str, max_payload: int) -> Prepared:
    """A job of a schedule, under the id that ``name`` makes. Raises BrokerUnavailable."""
    id = f"{name}.{broker.number(made.queue)}"
    recipe = Recipe(made.task, alias, max_payload, broker.seals, broker.gates)
    return recipe.make(id, tuple(made.args), dict(made.kwargs))


def announce(prepared: Prepared, sender: type) -> None:
    """Tells Django's signal that a job is in Redis; receivers cannot stop what called."""
    if ENQUEUED.is_heard:
        mark_enqueued(prepared.result, prepared.moment)
        ENQUEUED.signal.send_robust(sender=sender, task_result=prepared.result)


class Firing:
    """Fires the schedules of one backend."""

    def __init__(self, almanac: Almanac, alias: str, sender: type, max_payload: int) -> None:
        self._almanac = almanac
        self._broker = almanac.broker
        self._alias = alias
        self._sender = sender
        self._max_payload = max_payload
        self._jobs: dict[tuple[str, int], Prepared] = {}  # of the call that is being made

    def fire(self, queue: str, plans: Sequence[Plan], now: int) -> Iterator[tuple[int, float]]:
        """Deals with what is due of schedules of one queue.

        Yields Redis' time with each answer, and when it was asked for (monotonic).
        """
        self._jobs.clear()
        ticks: list[Tick] = []
        for plan in plans:
            ticks += self._ticks(plan, now)
        by_name = {plan.made.name: plan for plan in plans}
        for at in range(0, len(ticks), HOUSEKEEPING):
            chunk = ticks[at : at + HOUSEKEEPING]
            asked = monotonic()
            now, answers = self._almanac.tick(queue, chunk)
            for tick, answer in zip(chunk, answers, strict=True):
                self._take(by_name[tick.schedule], tick, answer)
            yield now, asked

    def _ticks(self, plan: Plan, now: int) -> list[Tick]:
        """The next tick of a schedule, or up to a hundred that were missed."""
        try:
            missed = plan.made.schedule.backlog(plan.record.last, now, plan.tick)
            if missed.fire:
                fire = missed.fire[:HOUSEKEEPING]
                first = self._tick(plan, fire[0], missed.missed)
                found = [first, *(self._tick(plan, due) for due in fire[1:])]
            elif missed.missed:
                found = [Tick(plan.made.name, missed.upto, missed.upto, "", missed.missed)]
            else:
                found = [self._tick(plan, plan.tick)] if plan.tick is not None else []
        except BrokerError:
            raise
        except Exception:
            if not plan.trouble:
                logger.exception("schedule %s: its job cannot be made", printable(plan.made.name))
            plan.trouble = True
            return []
        plan.trouble = False
        return found

    def _tick(self, plan: Plan, due: int, missed: int = 0) -> Tick:
        made, name = plan.made, plan.made.name
        job = job_of(made, tick_name(name, due), self._broker, self._alias, self._max_payload)
        self._jobs[name, due] = job
        at = made.schedule.fires_at(name, due)
        return Tick(name, due, at, made.schedule.overlap, missed, job.draft)

    def _take(self, plan: Plan, tick: Tick, answer: Ticked) -> None:
        """What a tick's letter (see tick.lua) means for its schedule."""
        plan.record = answer.record
        match answer.letter:
            case "N":
                plan.leads = True
                announce(self._jobs[tick.schedule, tick.due], self._sender)
            case "E":
                plan.leads = False
            case "R":
                self._cancel(plan.made, answer.record.id)
            case "O" | "K" | "M" | "U":
                plan.leads = True
        if tick.missed and answer.letter in "NOKMU":
            name = printable(plan.made.name)
            logger.warning("schedule %s: %d ticks were missed and given up", name, tick.missed)

    def _cancel(self, made: Periodic, id: str) -> None:
        """The job of the last tick makes room for the next one's, which is sent again then."""
        failure = Failure(c=CANCELLED_BY, m="replaced by the next run of its schedule")
        line = self._broker.notice(made.queue, failure)
        keep = round((made.task.options.retention or 0) * 1000)
        self._broker.cancel(made.queue, [(id, made.task.module_path)], line, keep)
