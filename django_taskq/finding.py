"""Which jobs are meant: by queue, state, task, tag, error, or a text in their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from . import registry
from .broker.inspector import Match, Row, jobs
from .codec import OPEN, Seals, encode, redact
from .frames import Fingerprint, fingerprint
from .reader import envelope_of
from .showing import envelope_in, is_whole, last_failure, task_in

HEAD = 65_536  # bytes of a job's envelope within which a text is looked for
TAIL = 65_536  # bytes of its last failure, of which the traceback is needed


class Filter(NamedTuple):
    """What the jobs that are meant have in common; "" for anything.

    ``text`` is looked for in the arguments as they may be shown, so a search tells nobody what
    is sensitive. ``error``: part of an exception's dotted name; ``place``: see Fingerprint.
    """

    task: str = ""
    tag: str = ""
    error: str = ""
    text: str = ""
    place: str = ""

    @property
    def head(self) -> int:
        """Bytes of an envelope that have to be read."""
        return HEAD if self.text else jobs.HEAD

    @property
    def tail(self) -> int:
        """Bytes of a failure that have to be read."""
        return TAIL if self.place else jobs.TAIL

    def matches(self) -> list[Match]:
        """What the server looks for. It finds too much, never too little, see ``is_meant()``."""
        text = encode(self.text)[1:-1].decode() if self.text else ""
        own = (self.task,) if self.task else ()
        if not self.tag or self.task:
            return [Match(own, text, self.error)]
        found = [Match((), text or encode(self.tag).decode(), self.error)]
        tagged = tasks_with(self.tag)
        return [*found, Match(tagged, text, self.error)] if tagged else found

    def match(self) -> Match:
        """As ``matches()``, in one that may find much more."""
        matches = self.matches()
        return matches[0] if len(matches) == 1 and not self.tag else Match(failing=self.error)

    def is_meant(self, row: Row, seals: Seals | None) -> bool:
        """Whether a job has all of it."""
        seals = seals or OPEN
        envelope = envelope_in(row, seals)
        if self.task and envelope.t != self.task:
            return False
        if self.tag and self.tag not in task_in(envelope).options.tags:
            return False
        if self.error and self.error not in last_failure(row, seals).c:
            return False
        if self.place and self.place != place_of(row, seals):
            return False
        return not self.text or self._is_in_arguments(row, seals)

    def _is_in_arguments(self, row: Row, seals: Seals) -> bool:
        if not is_whole(row):
            return False
        envelope = envelope_of(row.id, row.envelope, seals)
        shown = encode(redact(task_in(envelope), envelope.a, envelope.k))
        return encode(self.text)[1:-1] in shown


def place_of(row: Row, seals: Seals) -> str:
    """Where the last failure of a job came from."""
    failure = last_failure(row, seals)
    return fingerprint(failure.c, "", failure.b).place


def meant(rows: Iterable[Row], wanted: Filter, seals: Seals | None) -> list[Row]:
    """The rows that have what is wanted."""
    return [row for row in rows if wanted.is_meant(row, seals)]


def tasks_with(tag: str) -> tuple[str, ...]:
    """The names of the tasks that were declared with a tag."""
    tasks = ((name, registry.find(name)) for name in registry.names())
    return tuple(name for name, task in tasks if task and tag in task.options.tags)


def all_tags() -> list[str]:
    """Every tag that a task was declared with."""
    tasks = [registry.find(name) for name in registry.names()]
    return sorted({tag for task in tasks if task for tag in task.options.tags})


class Group(NamedTuple):
    """Failures that are the same. Times in ms."""

    exception: str
    task: str
    place: str
    jobs: int
    first: int
    last: int
    sample: Row
    message: str
    states: dict[str, int]
    queues: tuple[str, ...]


def groups(rows: Sequence[Row], seals: Seals | None) -> list[Group]:
    """The failures of jobs by exception, task and the project's innermost frame; largest first."""
    seals = seals or OPEN
    found: dict[Fingerprint, list[tuple[int, Row, str]]] = {}
    for row in rows:
        failure = last_failure(row, seals)
        if failure.c:
            key = fingerprint(failure.c, envelope_in(row, seals).t, failure.b)
            at = failure.f or row.live.ended or row.live.started
            found.setdefault(key, []).append((at, row, failure.m))
    made = [_group(key, members) for key, members in found.items()]
    return sorted(made, key=lambda group: (-group.jobs, -group.last))


def _group(key: tuple[str, str, str], members: list[tuple[int, Row, str]]) -> Group:
    last, sample, message = max(members, key=lambda member: member[0])
    states: dict[str, int] = {}
    for _, row, _ in members:
        states[str(row.state)] = states.get(str(row.state), 0) + 1
    queues = tuple(sorted({row.queue for _, row, _ in members}))
    first = min(at for at, _, _ in members)
    return Group(*key, len(members), first, last, sample, message, states, queues)
