"""The schedules of a queue as Redis knows them: how far each is, and what became of its ticks."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct as Layout
from typing import Any, NamedTuple

from ..codec import LATEST
from ..job import new_id
from .broker import HOUSEKEEPING, Broker, Draft, chunks
from .calls import Arg, Call, Command
from .replies import letters, text

TICKED = Layout(">QQQB")
PAUSE = Layout(">QQQ")
PRINT = 12
PAUSED, SKIP = 1, 2
FAR = LATEST // 2  # ms; a time from there on is none: what follows one has to be a date, too
FORGET_AFTER = 30 * 86_400_000  # ms after which a schedule that no worker knows is forgotten
NOTHING = Draft("", b"")  # the job of a tick that is given up

# What became of a tick, by its letter; see tick.lua.
OUTCOMES = {
    "N": "enqueued",
    "H": "run by hand",
    "O": "skipped: the job before has not ended",
    "K": "skipped by hand",
    "M": "missed",
    "E": "its job was there before",
    "U": "skipped: another job has its lock",
}


class Pause(NamedTuple):
    """What is known of a pause: its end (0: none), since when (0: unknown), and its note."""

    until: int = 0
    since: int = 0
    note: bytes = b""

    @classmethod
    def decode(cls, raw: bytes) -> Pause:
        """The pause from its bytes; one of which nothing is known for what is none."""
        if len(raw) < PAUSE.size:
            return cls()
        until, since, _last = PAUSE.unpack_from(raw)
        return cls(until, since, raw[PAUSE.size :]) if max(until, since) < FAR else cls()


class Record(NamedTuple):
    """How far a schedule is. Times are ms of Redis' clock."""

    last: int  # ticks up to then are dealt with
    tick: int = 0  # the last one that was; 0: none yet
    seen: int = 0  # when it was last noted that a worker knows the schedule
    paused: bool = False
    skip: bool = False  # the next tick is skipped
    print: str = ""
    id: str = ""  # the job of the last tick that was fired
    pause: Pause = Pause()

    @classmethod
    def decode(cls, raw: bytes, pause: bytes = b"") -> Record | None:
        """The record from its bytes, and its pause's; None for what is none."""
        if len(raw) < TICKED.size + PRINT:
            return None
        last, tick, seen, flags = TICKED.unpack_from(raw)
        if max(last, tick, seen) >= FAR:
            return None
        tail = raw[TICKED.size :].decode("utf-8", "replace")
        paused, skip = bool(flags & PAUSED), bool(flags & SKIP)
        words = (tail[:PRINT], tail[PRINT:])
        return cls(last, tick, seen, paused, skip, *words, Pause.decode(pause))


Records = list[Record | None]


class Tick(NamedTuple):
    """A tick to be dealt with. ``overlap`` "" gives it up; ``due`` 0 is a run by hand."""

    schedule: str
    due: int
    at: int
    overlap: str
    missed: int
    draft: Draft = NOTHING


class Ticked(NamedTuple):
    """What a tick came to: its letter, see tick.lua, and the record after it, without its pause."""

    letter: str
    record: Record


class Entry(NamedTuple):
    """A line of a schedule's history. ``detail``: the job's id, or how many were missed."""

    due: int
    at: int
    letter: str
    detail: str

    @property
    def outcome(self) -> str:
        return OUTCOMES.get(self.letter, self.letter)


class Almanac:
    """The reads and moves of schedules on one broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def _ask(self, script: str, queue: str, args: Sequence[Arg]) -> Any:
        return self.broker.server.call(self.broker.timed_call(script, queue, args))

    def tick(self, queue: str, ticks: Sequence[Tick]) -> tuple[int, list[Ticked]]:
        """Fires up to HOUSEKEEPING ticks, those of one schedule in order; Redis' time too."""
        args: list[Arg] = []
        for tick in ticks:
            args += (*tick[:5], *tick.draft)
        now, *flat = self._ask("tick", queue, args)
        found = [
            Ticked(text(flat[at]), Record.decode(flat[at + 1]) or Record(0))
            for at in range(0, len(flat), 2)
        ]
        return int(now), found

    def agenda(self, queue: str, schedules: Sequence[tuple[str, str]]) -> tuple[int, Records]:
        """Redis' time, and the records of up to HOUSEKEEPING (name, fingerprint) pairs.

        With a fingerprint one that is new or has changed begins now; without, it is only read.
        """
        return agenda_of(self.broker.server.call(self._agenda_call(queue, schedules)))

    def _agenda_call(self, queue: str, schedules: Sequence[tuple[str, str]]) -> Call:
        args: list[Arg] = []
        for pair in schedules:
            args += pair
        return self.broker.timed_call("agenda", queue, args)

    def records(self, names: Sequence[tuple[str, Sequence[str]]]) -> list[tuple[int, Records]]:
        """Redis' time and the records of (queue, up to HOUSEKEEPING names); one round trip."""
        calls = [self._agenda_call(queue, [(name, "") for name in some]) for queue, some in names]
        return [agenda_of(reply) for reply in self.broker.server.call_many(calls)] if calls else []

    def story(self, queue: str, name: str) -> tuple[int, Record | None, list[Entry]]:
        """Redis' time, the record of a schedule and its history; one round trip."""
        calls = [self._agenda_call(queue, [(name, "")]), self._history_call(queue, name)]
        reply, raw = self.broker.server.call_many(calls)
        now, (record,) = agenda_of(reply)
        return now, record, entries(raw)

    def steer(
        self, queue: str, order: str, names: Sequence[str], length: int = 0, note: bytes = b""
    ) -> str:
        """Carries out ``pause``, ``resume`` or ``skip``; a letter each: O done, S was so before.

        ``length``: ms after which a pause ends by itself, 0: not. Its ``note`` is for people.
        """
        answers = ""
        for chunk in chunks(names, HOUSEKEEPING):
            args = (new_id(), order, length, note, *chunk)
            answers += letters(self._ask("steer", queue, args))
        self.announce()
        return answers

    def announce(self) -> None:
        """Has every worker look at the schedules again, now."""
        self.broker.server.command("PUBLISH", self.broker.control, "schedules")

    def retire(self, queue: str, cursor: str = "0") -> tuple[str, int]:
        """Forgets what no worker has known for long: (where to go on, how many)."""
        following, count = self._ask("retire", queue, (cursor, FORGET_AFTER))
        return text(following), int(count)

    def history(self, queue: str, name: str) -> list[Entry]:
        """What became of the last ticks of a schedule, the newest first."""
        return entries(self.broker.server.call(self._history_call(queue, name)))

    def _history_call(self, queue: str, name: str) -> Call:
        return Command("HGET", self.broker.key(queue, "tick_log"), name)


def agenda_of(reply: Sequence[Any]) -> tuple[int, Records]:
    """The reply of ``agenda``."""
    now, *flat = reply
    return int(now), [Record.decode(*flat[at : at + 2]) for at in range(0, len(flat), 2)]


def entries(raw: bytes | None) -> list[Entry]:
    """A history from its text, the newest first."""
    return [entry(line) for line in reversed(text(raw or b"").splitlines())]


def entry(line: str) -> Entry:
    """A line of ``tick_log``."""
    due, at, letter, detail = f"{line}   ".split(" ")[:4]
    return Entry(int(due), int(at), letter, detail)
