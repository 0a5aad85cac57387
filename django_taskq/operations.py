"""What an operator does to jobs, whatever their state: one verb for many, and what became of each.

The admin, commands and the API say who may; here is what it means for a task: its retention, its
signature, its seals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from .asks import NOTHING as NO_ASK
from .broker.broker import HOUSEKEEPING, Broker, Draft, chunks
from .broker.inspector import Inspector, Row
from .broker.replies import Stored
from .broker.steering import Steering
from .clock import now_ms
from .codec import LATEST, OPEN, encode_envelope
from .conf import QUEUE_NAME
from .exceptions import (
    ArgumentsDoNotBind,
    InvalidArgument,
    InvalidOption,
    JobCancelled,
    KeyMissing,
    MalformedJob,
    PayloadTooLarge,
)
from .job import ENDED, Envelope, Failure, State, new_id
from .reader import priority_of
from .registry import is_own
from .showing import envelope_in, task_in
from .task import Task, look_up

DONE, LATER, REFUSED, UNKNOWN = "done", "later", "refused", "unknown"
LETTERS = {"O": DONE, "C": DONE, "W": LATER, "E": REFUSED, "R": REFUSED, "L": REFUSED, "U": UNKNOWN}
HOLD = 60_000  # ms after which a job that was being moved runs although its mover vanished
CANCELLED_BY = f"{JobCancelled.__module__}.{JobCancelled.__qualname__}"
Done = Counter[str]
# What is the matter with one job, or with its task, and stops no work on many.
IMMOVABLE = (
    ArgumentsDoNotBind,
    InvalidArgument,
    InvalidOption,
    KeyMissing,
    MalformedJob,
    PayloadTooLarge,
)


class Params(NamedTuple):
    """What a verb is told. ``by``: who does it, for the job's record."""

    by: str = ""
    due: int = 0  # ms
    priority: int = 0
    queue: str = ""  # to move to


class Changes(NamedTuple):
    """Other arguments for a job, as JSON; what is not named here stays as it is."""

    positional: Mapping[int, Any] = {}
    named: Mapping[str, Any] = {}
    removed: Sequence[str] = ()


class Operations:
    """The verbs for the jobs of one broker. ``limit``: bytes of an envelope."""

    def __init__(self, broker: Broker, limit: int = 1 << 20) -> None:
        self.broker = broker
        self.steering = Steering(broker)
        self.inspector = Inspector(broker)
        self.seals = broker.seals or OPEN
        self.limit = limit

    def apply(self, verb: str, rows: Sequence[Row], params: Params) -> Done:
        """Does it to jobs of any queues; how many became what.

        Jobs whose state is not in STATES are left alone, so that each verb is worth no more than
        its own permission: ``kill`` cancels nothing that waits.
        """
        able = [row for row in rows if row.state in STATES[verb]]
        done: Done = Counter({REFUSED: len(rows) - len(able)})
        rows = able
        if verb in ("retry", "retry_at"):
            own = [row for row in rows if is_own(self._name(row))]
            rows = [row for row in rows if row not in own]
            done[REFUSED] += len(own)
        for queue, some in by_queue(rows).items():
            for chunk in chunks(some, HOUSEKEEPING):
                done += VERBS[verb](self, queue, chunk, params)
        return +done

    # -- verbs -----------------------------------------------------------------------------------

    def retry(self, queue: str, rows: Sequence[Row], params: Params) -> Done:
        """Ended and retrying jobs stand in line again, with their attempts from the start."""
        return told(self.broker.retry(queue, ids(rows)))

    def retry_at(self, queue: str, rows: Sequence[Row], params: Params) -> Done:
        """As ``retry``, at a time; scheduled jobs get that time."""
        return told(self.broker.retry(queue, ids(rows), params.due))

    def run(self, queue: str, rows: Sequence[Row], params: Params) -> Done:
        """Scheduled and retrying jobs run now."""
        return told(self.steering.advance(queue, ids(rows)))

    def cancel(self, queue: str, rows: Sequence[Row], params: Params) -> Done:
        """What is not running is cancelled, what runs is asked to stop."""
        return self._stop(queue, rows, params, "cancel")

    def kill(self, queue: str, rows: Sequence[Row], params: Params) -> Done:
        """What runs is asked to stop; code that does not loses its process. What waits stays."""
        return self._stop(queue, rows, params, "kill-only")

    def _stop(self, queue: str, rows: Sequence[Row], params: Params, order: str) -> Done:
        line = self._notice(queue, f"cancelled by {params.by}")
        done: Done = Counter()
        for retention, pairs in self._by_retention(rows).items():
            answers = self.broker.cancel(queue, pairs, line, retention, order)
            done += Counter(
                DONE if answer.verdict in "CR" else LETTERS[answer.verdict] for answer in answers
            )
        return done

    def delete(self, queue: str, rows: Sequence[Row], params: Params) -> Done:
        """Ended jobs go. What has not started is cancelled and goes within seconds."""
        ended = [row.id for row in rows if row.state in ENDED]
        pairs = [(row.id, self._name(row)) for row in rows if row.state not in ENDED]
        done = told(self.steering.delete(queue, ended))
        line = self._notice(queue, f"deleted by {params.by}")
        withdrawn = told(self.steering.withdraw(queue, pairs, line, 0))
        done[LATER] += withdrawn.pop(DONE, 0)
        return +(done + withdrawn)

    def prioritize(self, queue: str, rows: Sequence[Row], params: Params) -> Done:
        """What has not ended gets another priority."""
        return told(self.steering.prioritize(queue, ids(rows), params.priority))

    def move(self, queue: str, rows: Sequence[Row], params: Params) -> Done:
        """What is not running goes on in another queue, under another id.

        An id says which queue its job is in, so a move is a new job and the end of the old one.
        """
        done: Done = Counter()
        for chunk in chunks(rows, 10):  # they are read whole, and may be large
            stored = self.broker.fetch(queue, ids(chunk))
            for row, job in zip(chunk, stored, strict=True):
                done[self._move(queue, row, job, params)] += 1
        return done

    def _move(self, queue: str, row: Row, job: Stored, params: Params) -> str:
        """Loses nothing, whatever dies in between: the new job is there, held back, before the old
        one is withdrawn, and runs by itself after HOLD. Only then could it run twice.
        """
        if job.state is None:
            return UNKNOWN
        if job.state in ENDED or job.state is State.RUNNING or queue == params.queue:
            return REFUSED
        id = f"{new_id()}.{self.broker.number(params.queue)}"
        try:
            held = self._copy(row, job, id, params.queue)
        except IMMOVABLE:
            return REFUSED
        if not self.broker.enqueue(params.queue, [held]).upper().startswith("N"):
            return REFUSED  # another job has its lock there
        line = self._notice(queue, f"moved to queue {params.queue} as {id} by {params.by}")
        task = task_in(envelope_in(row, self.seals))
        retention = milliseconds(task.options.retention)
        pair = (row.id, self._name(row))
        if self.steering.withdraw(queue, [pair], line, retention) != "O":
            gone = self._notice(params.queue, "was not moved: it had started")
            self.steering.withdraw(params.queue, [(id, self._name(row))], gone, 0)
            return REFUSED
        if job.state in (State.SCHEDULED, State.RETRYING) and job.due > self.now():
            self.broker.retry(params.queue, [id], round(job.due))
        else:
            self.steering.advance(params.queue, [id])
        return DONE

    def _copy(self, row: Row, job: Stored, id: str, queue: str) -> Draft:
        """The job for another queue, held back: sealed for its new id, with its lock and limits.

        Raises ArgumentsDoNotBind where nobody here can say which those are, and what else is in
        IMMOVABLE.
        """
        envelope = self._opened(row.id, job.envelope)
        if look_up(envelope.t) is None:
            raise ArgumentsDoNotBind(f"the task {envelope.t!r} is not known here")
        raw = self._sealed(id, envelope)
        expires = max(job.live.expires - self.now(), 1) if job.live.expires else 0
        ask = ask_of(task_in(envelope), envelope.a, envelope.k)
        gate = (self.broker.gates or {}).get(queue, b"")
        whole = (ask or NO_ASK) + gate if gate else ask
        return Draft(id, raw, priority_of(job), -HOLD, expires, whole)

    def _opened(self, id: str, raw: bytes) -> Envelope:
        return self.seals.decrypt_envelope(id, self.seals.verify_envelope(id, raw))

    def _sealed(self, id: str, envelope: Envelope) -> bytes:
        """The envelope as it is kept: a seal is bound to its job's id."""
        if self.broker.seals is None:
            return encode_envelope(envelope, self.limit)
        return self.seals.seal_envelope(id, envelope, self.limit)

    # -- one job ---------------------------------------------------------------------------------

    def edit(self, queue: str, id: str, changes: Changes) -> str:
        """Gives a job that is not running other arguments: O, R runs, C changed, U unknown.

        Raises ArgumentsDoNotBind, InvalidArgument or InvalidOption where the task cannot be called
        with them or no key be made of them, PayloadTooLarge, KeyMissing or MalformedJob.
        """
        (job,) = self.broker.fetch(queue, [id])
        if job.state is None:
            return "U"
        envelope = self._opened(id, job.envelope)
        args = [changes.positional.get(at, value) for at, value in enumerate(envelope.a)]
        kwargs = {
            name: value
            for name, value in {**envelope.k, **changes.named}.items()
            if name not in changes.removed
        }
        # As a worker will: JSON to what the annotations name; and back, to be kept.
        task = task_in(envelope)
        plain = task.signature.dump(*task.signature.load(args, kwargs))
        changed = replace(envelope, a=list(plain[0]), k=dict(plain[1]))
        if ask_of(task, changed.a, changed.k) != ask_of(task, envelope.a, envelope.k):
            raise InvalidArgument(
                f"{envelope.t}: its lock, limit or turn follows from what would be changed: "
                "enqueue it anew instead, and cancel this job"
            )
        return self.steering.edit(queue, id, job.envelope, self._sealed(id, changed))

    # -- help ------------------------------------------------------------------------------------

    def now(self) -> int:
        """ms: the broker's clock where a test hands one in, else this machine's."""
        now = self.broker._time()
        return int(now) if now != "" else now_ms()

    def _notice(self, queue: str, text: str) -> bytes:
        return self.broker.notice(queue, Failure(c=CANCELLED_BY, m=text[:200]))

    def _name(self, row: Row) -> str:
        return envelope_in(row, self.seals).t

    def _by_retention(self, rows: Sequence[Row]) -> dict[int, list[tuple[str, str]]]:
        """ms that a job is kept -> (id, task) of each."""
        found: dict[int, list[tuple[str, str]]] = {}
        for row in rows:
            envelope = envelope_in(row, self.seals)
            keep = milliseconds(task_in(envelope).options.retention)
            found.setdefault(keep, []).append((row.id, envelope.t))
        return found


Verb = Callable[[Operations, str, Sequence[Row], Params], Done]
VERBS: dict[str, Verb] = {
    "retry": Operations.retry,
    "retry_at": Operations.retry_at,
    "run": Operations.run,
    "cancel": Operations.cancel,
    "kill": Operations.kill,
    "delete": Operations.delete,
    "prioritize": Operations.prioritize,
    "move": Operations.move,
}

# The states in which a verb can do something.
STATES: dict[str, frozenset[State]] = {
    "retry": frozenset({*ENDED, State.RETRYING}),
    "retry_at": frozenset({*ENDED, State.RETRYING, State.SCHEDULED}),
    "run": frozenset({State.SCHEDULED, State.RETRYING}),
    "cancel": frozenset({*State} - ENDED),
    "kill": frozenset({State.RUNNING}),
    "delete": frozenset({*State} - {State.RUNNING}),
    "prioritize": frozenset({*State} - ENDED),
    "move": frozenset({*State} - ENDED - {State.RUNNING}),
}


def check(verb: str, params: Params, allowed_queues: Sequence[str] = ()) -> None:
    """Raises InvalidOption, in the operator's words, for what a verb cannot be told.

    ``allowed_queues``: what a job may be moved to; none: any.
    """
    if verb not in VERBS:
        raise InvalidOption(f"unknown verb {verb!r}")
    if verb == "prioritize" and not -100 <= params.priority <= 100:
        raise InvalidOption(f"priority {params.priority}: must be from -100 to 100")
    if verb == "retry_at" and not 0 < params.due < LATEST:
        raise InvalidOption("say when the jobs are to run")
    if verb == "move":
        if not QUEUE_NAME.fullmatch(params.queue):
            raise InvalidOption(f"queue {params.queue!r}: no queue can have that name")
        if allowed_queues and params.queue not in allowed_queues:
            raise InvalidOption(f"queue {params.queue!r} is not in QUEUES")


def ask_of(task: Task, args: list[Any], kwargs: dict[str, Any]) -> bytes:
    """The lock, limits and turn of a job with these arguments.

    Raises ArgumentsDoNotBind, InvalidArgument or InvalidOption.
    """
    if task.asks is None:
        return b""
    return task.asks.of(*task.signature.load(args, kwargs), args, kwargs)


def told(letters: str) -> Done:
    """Letters in words, counted."""
    return Counter(LETTERS[letter] for letter in letters)


def ids(rows: Sequence[Row]) -> list[str]:
    return [row.id for row in rows]


def by_queue(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.queue, []).append(row)
    return found


def milliseconds(retention: float | None) -> int:
    return round((retention or 0) * 1000)
