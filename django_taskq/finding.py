"""Which jobs are meant: by what they are, who ran them and how, or what they carry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from . import registry
from .broker.inspector import Match, Row, jobs
from .clock import now_ms
from .codec import HIDDEN, OPEN, Seals, encode, redact
from .frames import fingerprint
from .job import Envelope, Failure
from .reader import ENCRYPTED
from .showing import attempts_of, envelope_in, is_whole, last_failure, run_time, task_in

HEAD = 65_536  # bytes of a job's envelope within which a text is looked for
TAIL = 24_576  # bytes of its last failure: the longest traceback of ASCII, encrypted too
NOWHERE = "-"  # the place of a failure without one, as a filter has it


class Filter(NamedTuple):
    """What the jobs that are meant have in common; "" for anything.

    ``text`` is looked for in the arguments as they may be shown, so a search tells nobody what
    is sensitive; so is ``arg``, "NAME:VALUE": the argument that the function's signature names so
    is that value, or, of a text or a structure, has it in it. ``error``: part of an exception's
    dotted name; ``place``: see Fingerprint, or NOWHERE: with it one group is meant, and ``error``
    is the whole name. ``since``: ms, enqueued then or later; ``worker``: part of the id of the
    holder that has it or had it last; ``tried``: attempts at least, ``took``: ms of the last one
    at least, with those that go on; ``user``, ``request``: what goes along.
    """

    task: str = ""
    tag: str = ""
    error: str = ""
    text: str = ""
    place: str = ""
    since: int = 0
    worker: str = ""
    tried: int = 0
    took: int = 0
    arg: str = ""
    user: str = ""
    request: str = ""

    @property
    def carried(self) -> bool:
        """Whether it asks for something that jobs carry."""
        return bool(self.text or self.arg or self.user or self.request)

    @property
    def head(self) -> int:
        """Bytes of an envelope that have to be read."""
        return HEAD if self.carried else jobs.HEAD

    @property
    def tail(self) -> int:
        """Bytes of a failure that have to be read."""
        return TAIL if self.place or self.took else jobs.TAIL

    def matches(self) -> list[Match]:
        """What the server looks for. It finds too much, never too little, see ``is_meant()``."""
        run = (self.error, self.worker, self.tried, self.took)
        text = self._text()
        own = (self.task,) if self.task else ()
        if not self.tag or self.task:
            return [Match(own, text, *run)]
        found = [Match((), text or encode(self.tag).decode(), *run)]
        tagged = tasks_with(self.tag)
        return [*found, Match(tagged, text, *run)] if tagged else found

    def match(self) -> Match:
        """As ``matches()``, in one that may find much more."""
        matches = self.matches()
        return matches[0] if len(matches) == 1 and not self.tag else Match((), "", *matches[0][2:])

    def _text(self) -> str:
        """One text that stands in the envelope of every job that is meant, if one is known."""
        _name, _colon, value = self.arg.partition(":")
        if self.text:
            return quoted(self.text)
        if value and quoted(value) == value:  # else it depends on whether it is in a text
            return value
        for name, along in (("user", self.user), ("request", self.request)):
            if along:
                return encode({name: along})[1:-1].decode()
        return ""

    def is_meant(self, row: Row, seals: Seals | None, now: int = 0) -> bool:
        """Whether a job has all of it. ``now``: ms, by Redis' clock; 0: this machine's."""
        seals = seals or OPEN
        return (
            (not self.worker or self.worker in row.live.holder)
            and attempts_of(row) >= self.tried
            and self._is_of(envelope := envelope_in(row, seals))
            and self._went(row, seals, now)
            and (not self.carried or (is_whole(row) and self._carries(envelope)))
        )

    def _is_of(self, envelope: Envelope) -> bool:
        if (self.task and envelope.t != self.task) or envelope.e < self.since:
            return False
        return not self.tag or self.tag in task_in(envelope).options.tags

    def _went(self, row: Row, seals: Seals, now: int) -> bool:
        if not (self.error or self.place or self.took):
            return True
        failure = last_failure(row, seals)
        if not self._is_of_failure(failure):
            return False
        return not self.took or (run_time(row, failure, now or now_ms()) or 0) >= self.took

    def _is_of_failure(self, failure: Failure) -> bool:
        if not self.place:
            return self.error in failure.c
        if not failure.c:
            return False  # it has not failed, which is not to have failed nowhere
        place = fingerprint(failure.c, "", failure.b).place or NOWHERE
        return (self.error or failure.c, self.place) == (failure.c, place)

    def _carries(self, envelope: Envelope) -> bool:
        for name, along in (("user", self.user), ("request", self.request)):
            if along and envelope.c.get(name) != along:
                return False
        if not self.text and not self.arg:
            return True
        if envelope.a == [ENCRYPTED]:
            return False
        task = task_in(envelope)
        args, kwargs = redact(task, envelope.a, envelope.k)
        if self.text and quoted(self.text) not in encode([args, kwargs]).decode():
            return False
        name, _colon, value = self.arg.partition(":")
        named = task.signature.labelled(args, kwargs)
        return not self.arg or any(each == name and has(given, value) for each, given in named)


def quoted(text: str) -> str:
    """A text as it stands in JSON, without the quotes around it."""
    return encode(text)[1:-1].decode()


def has(given: Any, value: str) -> bool:
    """Whether an argument is a value, or has it in it: a number is the whole of it."""
    if isinstance(given, str):
        return given != HIDDEN and value in given
    text = encode(given).decode()
    return value in text if isinstance(given, list | dict) else value == text


def meant(rows: Iterable[Row], wanted: Filter, seals: Seals | None, now: int = 0) -> list[Row]:
    """The rows that have what is wanted; ``now`` as for ``is_meant()``."""
    return [row for row in rows if wanted.is_meant(row, seals, now)]


def tasks_with(tag: str) -> tuple[str, ...]:
    """The names of the tasks that were declared with a tag."""
    tasks = ((name, registry.find(name)) for name in registry.names())
    return tuple(name for name, task in tasks if task and tag in task.options.tags)


def all_tags() -> list[str]:
    """Every tag that a task was declared with."""
    tasks = [registry.find(name) for name in registry.names()]
    return sorted({tag for task in tasks if task for tag in task.options.tags})
