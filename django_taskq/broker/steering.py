"""What an operator does to jobs by their ids, and to queues. Each is one script.

All of it is safe to send again. Cancel, kill and retry are the broker's own, because programs use
them too. Who may do what, and what that means for a task, is for the layers above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha1
from typing import Any, NamedTuple

from ..asks import pack_numbers
from ..asks import text as name_of
from ..exceptions import BrokerError
from ..job import new_id
from ..limits import Limit
from .broker import HOUSEKEEPING, Broker, chunks
from .calls import Arg, Call
from .replies import letters, text

GOES_ON = 0  # of `paused`: the queue is not
UNTIL_RESUMED = 1  # of `paused`: it has no end
MOST_LOOKS = 20  # calls that let in those who find room under a limit


class Tally(NamedTuple):
    """What a job says that does something to many others."""

    id: str
    since: int  # ms
    text: bytes


class Limited(NamedTuple):
    """What became of a limit: O done, S it was so before, U no job ever came with it.

    ``let_in``: how many jobs that waited went back in line.
    """

    letter: str
    let_in: int


class Steering:
    """The verbs of one broker's operator. A letter per job; the scripts say which mean what."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def delete(self, queue: str, ids: Sequence[str]) -> str:
        """Deletes ended jobs: O, W goes within 10 s, E not ended, U unknown."""
        return self._each(ids, lambda chunk: self._moving("delete", queue, (), chunk))

    def withdraw(
        self, queue: str, jobs: Sequence[tuple[str, str]], failure: bytes, retention: int
    ) -> str:
        """Cancels (id, task) pairs that are not running: O, R runs, E ended, U unknown."""
        answers = self.broker.cancel(queue, jobs, failure, retention, "spare")
        return "".join(answer.verdict for answer in answers).replace("C", "O")

    def advance(self, queue: str, ids: Sequence[str]) -> str:
        """Lets scheduled and retrying jobs run now: O, E for all others."""
        return self._each(ids, lambda chunk: self._moving("advance", queue, (), chunk))

    def prioritize(self, queue: str, ids: Sequence[str], priority: int) -> str:
        """Gives jobs that have not ended another priority: O, E, U."""

        def call(chunk: Sequence[str]) -> Call:
            args: list[Arg] = [priority, *chunk]
            return self.broker.operator_call("prioritize", queue, args, timed=False)

        return self._each(ids, call)

    def edit(self, queue: str, id: str, seen: bytes, envelope: bytes) -> str:
        """Puts an envelope in the place of the one that was ``seen``: O, R runs, C changed, U.

        Raises BrokerFull.
        """
        digest = sha1(seen, usedforsecurity=False).hexdigest()
        args = (id, digest, envelope)
        call = self.broker.operator_call("edit", queue, args, timed=False)
        return letters(self.broker.server.call(call))

    def unlock(self, queue: str, id: str, owner: str) -> str:
        """Takes the lock that a job asks for from its owner: O, G not the owner's any more, U."""
        return letters(self.broker.server.call(self._moving("unlock", queue, (owner,), [id])))

    def pause(self, queue: str, note: bytes, until: int = UNTIL_RESUMED) -> None:
        """No worker is given a job of the queue from here on; what runs is finished."""
        self.pause_all([queue], note, until)

    def pause_all(self, queues: Sequence[str], note: bytes, until: int = UNTIL_RESUMED) -> None:
        """The same of several; one round trip."""
        self._pause(queues, until, note)

    def resume(self, queue: str) -> None:
        """Lets a queue go on."""
        self.resume_all([queue])

    def resume_all(self, queues: Sequence[str]) -> None:
        """The same of several; one round trip."""
        self._pause(queues, GOES_ON, b"")

    def _pause(self, queues: Sequence[str], paused: int, note: bytes) -> None:
        calls = [
            self.broker.operator_call("pause", queue, (paused, note), timed=False)
            for queue in queues
        ]
        self.broker.server.call_many(calls)

    def limit(self, queue: str, name: str, numbers: Limit | None) -> Limited:
        """Gives a limit these numbers in the place of the code's; None: gives it back to those.

        Whoever finds room now is let in, up to MOST_LOOKS * 500 jobs at MOST_LOOKS * 100 gates; the
        sweep lets in the others. Raises BrokerError; ``maybe_sent`` says so, too, where a later of
        several calls was refused.
        """
        packed = pack_numbers(numbers) if numbers is not None else b""
        name_, letter, let_in, left, gate = name_of(name)[:-1], "", 0, -1, b""
        for _ in range(MOST_LOOKS):
            args = (new_id(), name_, packed, gate, left)
            call = self.broker.operator_call("limit", queue, args, timed=True)
            try:
                reply = self.broker.server.call(call)
            except BrokerError as error:
                error.maybe_sent |= letter == "O" or let_in > 0
                raise
            said, moved, still, gate = reply.split(b" ", 3)
            letter = letter or letters(said)
            let_in, left = let_in + int(moved), int(still)
            if not gate:
                break
        return Limited(letter, let_in)

    def note(self, queue: str, id: str, said: bytes) -> None:
        """Notes how far a job has come that does something to many others."""
        self.broker.server.call(self.broker.operator_call("tally", queue, (id, said), timed=True))

    def tallies_call(self, queue: str) -> Call:
        """The call that reads what was noted, the newest first."""
        return self.broker.operator_call("tallies", queue, (HOUSEKEEPING,), timed=False)

    def _moving(self, name: str, queue: str, args: Iterable[Arg], ids: Sequence[str]) -> Call:
        return self.broker.operator_call(name, queue, (new_id(), *args, *ids), timed=True)

    def _each(self, items: Sequence[Any], call: Callable[[Sequence[Any]], Call]) -> str:
        calls = [call(chunk) for chunk in chunks(items, HOUSEKEEPING)]
        return "".join(letters(self.broker.server.call(each)) for each in calls)


def tallies(reply: Sequence[bytes]) -> list[Tally]:
    """The reply of ``tallies``."""
    return [
        Tally(text(reply[at]), round(float(reply[at + 1])), reply[at + 2])
        for at in range(0, len(reply), 3)
    ]


def paused_until(paused: bytes, now: int) -> int | None:
    """When a pause ends (ms), 0 if somebody has to end it; None where there is none at ``now``.

    ``paused``: as it stands in a queue's meta.
    """
    until = int(paused) if paused.isdigit() else GOES_ON
    if until == UNTIL_RESUMED:
        return 0
    return until if until > now else None
