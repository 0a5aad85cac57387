"""The schedules as a person sees and steers them: for the command line, the admin, and programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from .broker.almanac import Almanac, Entry, Record, Tick
from .broker.broker import HOUSEKEEPING, Broker, chunks
from .exceptions import DuplicateJob
from .firing import announce, job_of
from .job import new_id
from .periodic import Declaration, Periodic, gather, sources
from .result import TaskResult
from .spelling import nearest


class Status(NamedTuple):
    """A schedule and how far it is. ``problem``: why it is not run; "" for none."""

    name: str
    task: str = ""
    expression: str = ""
    tz: str = ""
    queue: str = ""
    source: str = ""
    enabled: bool = False
    paused: bool = False
    skips_next: bool = False
    last: datetime | None = None  # the last tick, whatever became of it
    next: datetime | None = None
    job_id: str = ""  # of the last tick that was fired
    problem: str = ""


class Timetable:
    """All schedules of one backend. ``sender``: the class that Django's signals are sent for."""

    def __init__(self, broker: Broker, alias: str, sender: type, max_payload: int) -> None:
        self._broker = broker
        self._almanac = Almanac(broker)
        self._alias = alias
        self._sender = sender
        self._max_payload = max_payload

    def all(self) -> list[Status]:
        """Every schedule in code and elsewhere, by name. Raises BrokerUnavailable."""
        found, problems = self._gather()
        by_queue: dict[str, list[Periodic]] = {}
        for made in found:
            by_queue.setdefault(made.queue, []).append(made)
        rows = [Status(name, problem=problem) for name, problem in problems.items()]
        for queue, some in by_queue.items():
            for chunk in chunks(some, HOUSEKEEPING):
                now, records = self._almanac.agenda(queue, [(made.name, "") for made in chunk])
                rows += [
                    status_of(made, record, now)
                    for made, record in zip(chunk, records, strict=True)
                ]
        return sorted(rows)

    def find(self, name: str) -> Periodic:
        """The schedule of that name. Raises LookupError, with what is wrong or what is near."""
        found, problems = self._gather()
        for made in found:
            if made.name == name:
                return made
        if name in problems:
            raise LookupError(f"the schedule {name!r} cannot be run: {problems[name]}")
        names = [made.name for made in found]
        hint = nearest(name, names) if names else "there are none"
        raise LookupError(f"there is no schedule {name!r}; {hint}")

    def _gather(self) -> tuple[list[Periodic], dict[str, str]]:
        rows: list[Declaration] = [row for source in sources() for row in source.load()]
        found, problems = gather(rows)
        return [made for made in found if made.task.backend == self._alias], problems

    def run(self, name: str) -> TaskResult:
        """Runs it once, now, whatever its times are and whether it is paused.

        Raises DuplicateJob where another job has its lock.
        """
        made = self.find(name)
        job = job_of(made, new_id(), self._broker, self._alias, self._max_payload)
        tick = Tick(name, 0, 0, made.schedule.overlap, 0, job.draft)
        _, (answer,) = self._almanac.tick(made.queue, [tick])
        if answer.letter == "U":
            task = made.task.module_path
            raise DuplicateJob(f"schedule {name}: another job has the lock of {task}")
        announce(job, self._sender)
        return job.result

    def pause(self, name: str) -> bool:
        """Stops it until ``resume()``; whether it was not so before."""
        return self._steer("pause", name)

    def resume(self, name: str) -> bool:
        """Lets it go on; ``catch_up`` decides about the time between."""
        return self._steer("resume", name)

    def skip(self, name: str) -> bool:
        """Leaves its next tick out."""
        return self._steer("skip", name)

    def _steer(self, order: str, name: str) -> bool:
        return self._almanac.steer(self.find(name).queue, order, [name]) == "O"

    def history(self, name: str) -> Sequence[Entry]:
        """What became of its last ticks, the newest first."""
        return self._almanac.history(self.find(name).queue, name)


def status_of(made: Periodic, record: Record | None, now: int) -> Status:
    """A schedule at one moment."""
    schedule = made.schedule
    far = record or Record(now)
    stands = far.paused or not schedule.enabled
    tick = None if stands else schedule.next_after(far.last)
    return Status(
        name=made.name,
        task=made.task.module_path,
        expression=schedule.expression,
        tz=schedule.tz,
        queue=made.queue,
        source=made.source,
        enabled=schedule.enabled,
        paused=far.paused,
        skips_next=far.skip,
        last=moment(far.tick) if far.tick else None,
        next=None if tick is None else moment(schedule.fires_at(made.name, tick)),
        job_id=far.id,
    )


def moment(ms: int) -> datetime:
    """A time of Redis' clock."""
    return datetime.fromtimestamp(ms / 1000, UTC)
