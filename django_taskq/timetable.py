"""The schedules as a person sees and steers them: for the command line, the admin, and programs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from .broker.almanac import Almanac, Entry, Record, Tick
from .broker.broker import HOUSEKEEPING, Broker, chunks
from .broker.triage import MOST_NAME, MOST_REASON
from .codec import encode
from .exceptions import DuplicateJob, Seconds
from .firing import announce, job_of
from .job import new_id
from .periodic import Declaration, Periodic, by_name, resolved, sources
from .result import TaskResult
from .retry import as_seconds
from .showing import Note, note_of
from .spelling import nearest
from .task import discover_once, look_up

PAGE = 50  # schedules of a page


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
    paused_until: datetime | None = None  # None of a paused one: until somebody lets it go on
    paused_since: datetime | None = None
    paused_by: str = ""
    paused_why: str = ""


class Part(NamedTuple):
    """Some schedules. ``now``: ms of Redis' clock, 0 if it was not asked; ``after``: the name that
    the next page goes on behind, "" for none."""

    rows: list[Status]
    now: int
    after: str


class Story(NamedTuple):
    """One schedule, and what became of its last ticks, the newest first."""

    made: Periodic
    status: Status
    now: int
    ticks: list[Entry]


class CannotRun(LookupError):
    """A schedule is there, and cannot be run. ``status``: what its description says, and why."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"the schedule {status.name!r} cannot be run: {status.problem}")
        self.status = status


class Timetable:
    """All schedules of one backend. ``sender``: the class that Django's signals are sent for."""

    def __init__(self, broker: Broker, alias: str, sender: type, max_payload: int) -> None:
        self.broker = broker
        self._almanac = Almanac(broker)
        self._alias = alias
        self._sender = sender
        self._max_payload = max_payload

    def all(self) -> list[Status]:
        """Every schedule in code and elsewhere, by name. Raises BrokerUnavailable."""
        return self._statuses(self._known().values())[1]

    def page(self, text: str = "", after: str = "", size: int = PAGE) -> Part:
        """Those behind the name ``after`` whose name or task has a text in it; one round trip."""
        known = self._known()
        wanted = text.casefold()
        names = sorted(name for name, each in known.items() if wanted in search_text(each))
        names = names[bisect_right(names, after) :] if after else names
        now, found = self._statuses(known[name] for name in names[:size])
        return Part(found, now, names[size - 1] if len(names) > size else "")

    def look(self, name: str) -> Story:
        """One schedule with its history; one round trip. Raises LookupError, as ``find()``."""
        made = self.find(name)
        now, record, ticks = self._almanac.story(made.queue, name)
        return Story(made, status_of(made, record, now), now, ticks)

    def _statuses(self, some: Iterable[Periodic | Declaration]) -> tuple[int, list[Status]]:
        """Redis' time, and where each stands; in one round trip."""
        some = list(some)
        found, problems = resolved(some)
        by_queue: dict[str, list[Periodic]] = {}
        for made in found:
            if made.task.backend == self._alias:
                by_queue.setdefault(made.queue, []).append(made)
        parts = [
            (queue, chunk)
            for queue, mine in by_queue.items()
            for chunk in chunks(mine, HOUSEKEEPING)
        ]
        asked = [(queue, [made.name for made in chunk]) for queue, chunk in parts]
        rows = [broken(each, problems[each.name]) for each in some if each.name in problems]
        latest = 0
        for (_, chunk), (now, records) in zip(parts, self._almanac.records(asked), strict=True):
            latest = max(latest, now)
            rows += [
                status_of(made, record, now) for made, record in zip(chunk, records, strict=True)
            ]
        return latest, sorted(rows, key=lambda status: status.name)

    def find(self, name: str) -> Periodic:
        """The schedule of that name. Raises CannotRun, or LookupError with what is near."""
        known = self._known()
        if name not in known:
            hint = nearest(name, sorted(known)) if known else "there are none"
            raise LookupError(f"there is no schedule {name!r}; {hint}")
        found, problems = resolved([known[name]])
        if problems:
            raise CannotRun(broken(known[name], problems[name]))
        return found[0]

    def knows(self, name: str) -> bool:
        """Whether there is a schedule of that name, one that cannot be run too."""
        return name in self._known()

    def _known(self) -> dict[str, Periodic | Declaration]:
        """Those of this backend's tasks by their names, and those of no known task."""
        discover_once()  # a process of the site may not have imported every module of tasks
        found = by_name(row for source in sources() for row in source.load())
        return {name: each for name, each in found.items() if self._is_mine(each)}

    def _is_mine(self, each: Periodic | Declaration) -> bool:
        task = each.task if isinstance(each, Periodic) else look_up(each.task)
        return task is None or task.backend == self._alias

    def run(self, name: str) -> TaskResult:
        """Runs it once, now, whatever its times are and whether it is paused.

        Raises DuplicateJob where another job has its lock.
        """
        made = self.find(name)
        job = job_of(made, new_id(), self.broker, self._alias, self._max_payload)
        tick = Tick(name, 0, 0, made.schedule.overlap, 0, job.draft)
        _, (answer,) = self._almanac.tick(made.queue, [tick])
        if answer.letter == "U":
            task = made.task.module_path
            raise DuplicateJob(f"schedule {name}: another job has the lock of {task}")
        announce(job, self._sender)
        return job.result

    def pause(
        self, name: str, duration: Seconds | None = None, *, why: str = "", by: str = ""
    ) -> bool:
        """Stops it until ``resume()``, or for so long; whether it was not so before.

        ``why`` and ``by`` are shown to everybody. Raises InvalidOption for what is no duration.
        """
        length = 0
        if duration is not None:
            length = max(round(1000 * as_seconds(duration, "duration", zero=False)), 1)
        note = Note(by[:MOST_NAME], why[:MOST_REASON])
        return self._steer("pause", name, length, encode(note._asdict()) if any(note) else b"")

    def resume(self, name: str) -> bool:
        """Lets it go on; ``catch_up`` decides about the time between, as when a pause ends."""
        return self._steer("resume", name)

    def skip(self, name: str) -> bool:
        """Leaves its next tick out."""
        return self._steer("skip", name)

    def _steer(self, order: str, name: str, length: int = 0, note: bytes = b"") -> bool:
        return self._almanac.steer(self.find(name).queue, order, [name], length, note) == "O"

    def history(self, name: str) -> Sequence[Entry]:
        """What became of its last ticks, the newest first."""
        return self._almanac.history(self.find(name).queue, name)


def search_text(each: Periodic | Declaration) -> str:
    """What a search looks into."""
    task = each.task.module_path if isinstance(each, Periodic) else each.task
    return f"{each.name} {task}".casefold()


def broken(each: Periodic | Declaration, problem: str) -> Status:
    """One that cannot be run, as far as its description says anything."""
    if isinstance(each, Periodic):
        return Status(each.name, problem=problem)
    words = (str(each.expression), str(each.tz or ""), "", each.source)
    return Status(each.name, str(each.task), *words, enabled=each.enabled is True, problem=problem)


def status_of(made: Periodic, record: Record | None, now: int) -> Status:
    """A schedule at one moment."""
    schedule = made.schedule
    far = record or Record(now)
    stands = far.paused or not schedule.enabled
    begun = far.last if far.seen else now  # one that was only run by hand has not
    tick = None if stands else schedule.next_after(begun)
    pause, note = far.pause, note_of(far.pause.note)
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
        paused_until=moment(pause.until) if pause.until else None,
        paused_since=moment(pause.since) if pause.since else None,
        paused_by=note.by,
        paused_why=note.why,
    )


def moment(ms: int) -> datetime:
    """A time of Redis' clock."""
    return datetime.fromtimestamp(ms / 1000, UTC)
