"""The broker: one method per transition, each one script, each idempotent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, tee
from typing import Any, NamedTuple
from zlib import crc32

from ..codec import OPEN, Seals
from ..counts import mark
from ..exceptions import NotReplicated
from ..job import Failure, Live, Outcome, new_id
from .calls import Arg, Call
from .connection import Server, value_of
from .keys import QUEUE_KEYS, global_key, queue_key
from .links import Place
from .replies import (
    Cancelled,
    Exchanged,
    Promoted,
    Renewed,
    Stored,
    cancelled_jobs,
    exchanged,
    held_jobs,
    joined,
    letters,
    renewed,
    stored_jobs,
    text,
    unconfirmed,
)
from .scripts import Script, load
from .sweep import CHUNK as SWEEP
from .sweep import EMPTIED, FIRST, Swept, swept
from .trips import Sent
from .waits import Wait

CHUNK = 500  # jobs per call of the hot scripts
HOUSEKEEPING = 100  # jobs per call of all others
LOST_LIMIT = 20  # times its whole worker may vanish
LAST_NUMBER = b"#"  # the field of ``queues`` with the number given last; no queue has that name
DERIVED = 10_000_000  # numbers from here on are derived from names, those below are given by Redis
KEEPER_GRACE = 2000  # ms after which a timekeeper that is late is replaced


def raise_it(queue: str, error: BaseException) -> None:
    """What is done about a queue's error where nobody else does something."""
    raise error


class Draft(NamedTuple):
    """A job to be enqueued. ``due``: 0 now, > 0 a time in ms, < 0 so many ms from now.

    ``ask``: its lock, turn and limits, as asks.py writes them.
    """

    id: str
    envelope: bytes
    priority: int = 0
    due: int = 0
    expires_in: int = 0
    ask: bytes = b""

    def __repr__(self) -> str:
        """Without what the job carries."""
        return f"Draft({self.id!r}, {len(self.envelope)} bytes, priority={self.priority})"


class Exchange(NamedTuple):
    """What a child tells and asks one queue. ``resent``: this was sent before."""

    queue: str
    holder: str
    lease: int
    first: bool
    request: int
    want: int
    outcomes: Sequence[Outcome] = ()
    resent: bool = False
    lean: bool = False


class Inflight:
    """An exchange that was sent and whose answers were not read yet."""

    def __init__(self, requests: Sequence[Exchange], sent: Sent) -> None:
        self.requests = requests
        self._sent = sent

    def finish(self) -> list[Exchanged | BaseException]:
        """An answer or an error per queue, waiting for them if need be."""
        return [
            reply if isinstance(reply, BaseException) else exchanged(request.queue, reply)
            for request, reply in zip(self.requests, self._sent.replies(), strict=True)
        ]


class Limits(NamedTuple):
    """How many ended jobs a queue keeps, and for how long (ms) the dead ones."""

    succeeded: int = 100_000
    dead: int = 10_000
    cancelled: int = 100_000
    dead_retention: int = 90 * 86_400_000


DEFAULT_LIMITS = Limits()


class Broker:
    """Owner of the keys and scripts of one prefix on one server. Safe to share between threads.

    ``now``: tests hand in a clock (ms); otherwise every script asks Redis. ``durability``: what
    has to confirm a new job, see waits.py. ``seals``: how what is kept under this prefix is signed
    and encrypted, for who makes and reads it; None: not at all. ``gates``: of the queues whose
    jobs have limits together, for who makes jobs, see asks.py.
    """

    seals: Seals | None = None
    gates: Mapping[str, bytes] | None = None

    def __init__(
        self,
        server: Server,
        prefix: str = "taskq",
        limits: Limits = DEFAULT_LIMITS,
        now: Callable[[], int] | None = None,
        durability: Wait | None = None,
        seals: Seals | None = None,
        gates: Mapping[str, bytes] | None = None,
    ) -> None:
        self.server = server
        self.gates = gates
        self.seals = seals
        self.prefix = prefix
        self.limits = limits
        self.durability = durability
        self._now = now
        self._keys: dict[tuple[str, str], tuple[str, ...]] = {}
        self._numbers: dict[str, int] = {}

    # -- building calls --------------------------------------------------------------------------

    def _call(self, name: str, queue: str, args: Sequence[Arg], wait: Wait | None = None) -> Call:
        script = load(name)
        keys = self._keys.get((name, queue))
        if keys is None:
            keys = self._keys[name, queue] = self._keys_of(script, queue)
        return Call(script, keys, args, wait)

    def timed_call(self, name: str, queue: str, args: Sequence[Arg]) -> Call:
        """A call of a script that takes the time first."""
        return self._call(name, queue, (self._time(), *args))

    def _keys_of(self, script: Script, queue: str) -> tuple[str, ...]:
        return tuple(
            queue_key(self.prefix, queue, key)
            if key in QUEUE_KEYS
            else global_key(self.prefix, key)
            for key in script.keys
        )

    def _time(self) -> Arg:
        return "" if self._now is None else self._now()

    def key(self, queue: str, name: str) -> str:
        """A key of a queue by its name in keys.py."""
        return queue_key(self.prefix, queue, name)

    def place_of(self, queue: str) -> Place | None:
        """The server where the queue is, as far as that is known."""
        return self.server.known_place(self.key(queue, "jobs"))

    def notice(self, queue: str, failure: Failure) -> bytes:
        """The line of a failure that a script writes into the errors of several jobs."""
        return (self.seals or OPEN).seal_notice(queue, failure)

    @property
    def control(self) -> str:
        """The channel on which workers are told what cannot wait."""
        return global_key(self.prefix, "control")

    # -- queues ----------------------------------------------------------------------------------

    def number(self, queue: str) -> int:
        """The queue's short number, given once and kept for ever."""
        number = self._numbers.get(queue)
        if number is None:
            # Lost in a failover, a number would be given to another queue too.
            call = self._call("register", queue, (queue,), self.durability)
            number = int(self.server.call(call))
            if call.unconfirmed:
                missing = TimeoutError(f"queue {queue!r} is new: {self.durability} did not confirm")
                raise self.server.unavailable(missing, maybe_sent=False)
            self._numbers[queue] = number
        return number

    def known_number(self, queue: str) -> int | None:
        """The queue's short number if this process asked for it before."""
        return self._numbers.get(queue)

    def queue_of(self, number: int) -> str | None:
        """The queue of a number, a short or a derived one; None when no queue has it."""
        found = self._named(number)
        if found is None:
            self.queues()
            found = self._named(number)
        return found

    def _named(self, number: int) -> str | None:
        numbers = dict(self._numbers)  # other threads may add to it
        if number >= DERIVED:
            return next((name for name in numbers if derived_number(name) == number), None)
        return next((name for name, known in numbers.items() if known == number), None)

    def queues(self) -> list[str]:
        """Every queue that ever took a job."""
        flat = self.server.command("HGETALL", global_key(self.prefix, "queues"))
        for at in range(0, len(flat), 2):
            if flat[at] != LAST_NUMBER and flat[at + 1].isdigit():
                self._numbers[text(flat[at])] = int(flat[at + 1])
        return sorted(self._numbers)

    # -- producers -------------------------------------------------------------------------------

    def enqueue_call(self, queue: str, drafts: Sequence[Draft]) -> Call:
        """The call that takes up to CHUNK jobs in."""
        args: list[Arg] = [self._time()]
        for draft in drafts:
            args += draft
        return self._call("enqueue", queue, args, self.durability)

    def confirm_call(self, queue: str) -> Call:
        """The call that has what the queue has confirmed as durable."""
        return self._call("confirm", queue, (), self.durability)

    def enqueue(self, queue: str, drafts: Sequence[Draft]) -> str:
        """Takes jobs in; a letter per job: N new, E its id existed, U another job has its lock.

        With E and U nothing was done; the ids of the others stand behind a space. Small letters:
        they are in, and what ``durability`` asks for did not confirm it.
        """
        return joined(self.enqueue_batches(queue, chunks(drafts, CHUNK)))

    def enqueue_one(self, queue: str, draft: Draft) -> str:
        """Takes one job in; its letter."""
        call = self.enqueue_call(queue, (draft,))
        found = letters(self.server.call(call))
        return found if self.durability is None else self._confirmed(queue, call, found)

    def enqueue_batches(self, queue: str, batches: Iterable[Sequence[Draft]]) -> Iterator[str]:
        """Takes batches of up to CHUNK jobs in, in order; the letters of each.

        The next batch is made while the server works on the last.
        """
        calls = (self.enqueue_call(queue, batch) for batch in batches)
        if self.durability is None:
            return map(letters, self.server.stream(calls))
        return self._confirmed_batches(queue, calls)

    def _confirmed_batches(self, queue: str, calls: Iterable[Call]) -> Iterator[str]:
        mine, sent = tee(calls)
        for call, reply in zip(mine, self.server.stream(sent), strict=True):
            yield self._confirmed(queue, call, letters(reply))

    def _confirmed(self, queue: str, call: Call, found: str) -> str:
        """The letters, small where the confirmation is missing."""
        if needs_confirmation(call, found):
            call = self.confirm_call(queue)
            self.server.call(call)
        return unconfirmed(found) if call.unconfirmed else found

    def replace_call(self, queue: str, drafts: Sequence[Draft]) -> Call:
        """The call that gives up to HOUSEKEEPING jobs, known by id and lock, other arguments."""
        args: list[Arg] = [self._time()]
        for draft in drafts:
            args += draft
        return self._call("replace", queue, args, self.durability)

    def replace(self, queue: str, drafts: Sequence[Draft]) -> str:
        """Gives jobs new arguments and another time; a letter each: O, R it runs, G gone.

        A small o: what ``durability`` asks for did not confirm it.
        """
        found = ""
        for chunk in chunks(drafts, HOUSEKEEPING):
            call = self.replace_call(queue, chunk)
            answer = letters(self.server.call(call))
            found += answer.replace("O", "o") if call.unconfirmed else answer
        return found

    def unconfirmed(self, jobs: int) -> NotReplicated:
        """The error of jobs that are in, without what ``durability`` asks for."""
        return NotReplicated(
            f"{jobs} enqueued at {self.server.address}, not confirmed by {self.durability}: lost "
            "if the server fails before it has passed on what it took in"
        )

    def fetch_call(self, queue: str, ids: Sequence[str]) -> Call:
        """The call that reads up to HOUSEKEEPING jobs."""
        return self._call("fetch", queue, ids)

    def fetch(self, queue: str, ids: Sequence[str]) -> list[Stored]:
        """The jobs as they are; an unknown id has state None."""
        return [
            stored
            for chunk in chunks(ids, HOUSEKEEPING)
            for stored in stored_jobs(self.server.call(self.fetch_call(queue, chunk)))
        ]

    def cancel_call(
        self,
        queue: str,
        jobs: Sequence[tuple[str, str]],
        failure: bytes,
        retention: int,
        order: str = "cancel",
    ) -> Call:
        """The call that cancels (id, task) pairs; ``failure`` is what their errors will say.

        ``order``: "kill" if a process may be ended for a job that does not stop by itself,
        "kill-only" if besides what does not run is to be let alone, "spare" if what runs is.
        """
        args: list[Arg] = [self._time(), new_id(), retention, failure, order]
        for job in jobs:
            args += job
        return self._call("cancel", queue, args)

    def cancel(
        self,
        queue: str,
        jobs: Sequence[tuple[str, str]],
        failure: bytes,
        retention: int,
        order: str = "cancel",
    ) -> list[Cancelled]:
        """Cancels what is not running and asks for it where it is, telling the holder at once."""
        answers = [
            answer
            for chunk in chunks(jobs, HOUSEKEEPING)
            for answer in cancelled_jobs(
                self.server.call(self.cancel_call(queue, chunk, failure, retention, order))
            )
        ]
        for (id, _), answer in zip(jobs, answers, strict=True):
            if answer.verdict == "R" and order != "spare":
                how = "kill" if order == "kill-only" else order
                message = self.stop_message(how, queue, id, answer)
                self.server.command("PUBLISH", self.control, message)
        return answers

    def stop_message(self, order: str, queue: str, id: str, answer: Cancelled) -> str:
        """What the control channel says to the job's holder."""
        return f"{order} {answer.holder} {queue} {id} {answer.fence}"

    def retry_call(self, queue: str, ids: Sequence[str], due: int = 0) -> Call:
        """The call that puts jobs back in line, or has them run at ``due`` (ms)."""
        return self._call("retry", queue, [self._time(), new_id(), due, *ids])

    def retry(self, queue: str, ids: Sequence[str], due: int = 0) -> str:
        """Puts ended or backing-off jobs back in line; a letter each: O, E not ended, U unknown.

        L: another job has its lock. With ``due`` (ms) they run then, and so do scheduled ones.
        """
        return "".join(
            letters(self.server.call(self.retry_call(queue, chunk, due)))
            for chunk in chunks(ids, HOUSEKEEPING)
        )

    # -- workers ---------------------------------------------------------------------------------

    def begin(self, requests: Sequence[Exchange]) -> Inflight:
        """Sends what several queues are told and asked, in one write; ``finish()`` reads.

        Raises BrokerUnavailable; the caller then sends the same requests again with ``resent``.
        """
        calls = [self._exchange_call(request) for request in requests]
        return Inflight(requests, self.server.begin(calls))

    def exchange(self, requests: Sequence[Exchange]) -> list[Exchanged]:
        """``begin`` and ``finish`` in one; raises the first error."""
        return [value_of(answer) for answer in self.begin(requests).finish()]

    def _exchange_call(self, request: Exchange) -> Call:
        keep = self.limits
        args: list[Arg] = [
            self._time(),
            request.holder,
            request.lease,
            int(request.first),
            request.request,
            int(request.resent),
            request.want,
            int(request.lean),
            *keep,
        ]
        for grant, kind, blob, delay, started, task, waited, took in request.outcomes:
            counted = mark(kind, task, waited, took)
            args += (grant.id, grant.live.fence, counted, blob, delay, started)
        return self._call("exchange", request.queue, args)

    def held(self, queue: str, holder: str) -> dict[str, Live]:
        """The jobs that a holder has, as Redis sees it, with their records."""
        found: dict[str, Live] = {}
        cursor = 0
        while cursor >= 0:
            cursor, *flat = self.server.call(self._call("held", queue, (holder, cursor)))
            found.update(held_jobs(flat))
        return found

    def park(self, queue: str, outcomes: Sequence[Outcome]) -> str:
        """Sets jobs aside under their task's name; a letter each: O, C cancelled, D, S stale."""
        return "".join(
            letters(self.server.call(self._park_call(queue, chunk)))
            for chunk in chunks(outcomes, CHUNK)
        )

    def _park_call(self, queue: str, outcomes: Sequence[Outcome]) -> Call:
        args: list[Arg] = [self._time(), new_id(), self.limits.dead_retention]
        for outcome in outcomes:
            live = outcome.grant.live
            args += (outcome.grant.id, live.fence, live.holder, outcome.task, outcome.blob)
        return self._call("park", queue, args)

    def report(self, queue: str, told: Sequence[tuple[str, int, bytes]]) -> str:
        """Keeps what running jobs say: (id, fence, report); a letter each: O, S stale.

        Raises BrokerFull where Redis has no memory for it.
        """
        return "".join(
            letters(self.server.call(self._call("report", queue, [*chain(*chunk)])))
            for chunk in chunks(told, CHUNK)
        )

    def release(self, queue: str, task: str) -> int:
        """Lets the parked jobs of a task back in line whose wait is over; how many."""
        return int(self.server.call(self._release_call(queue, task)))

    def _release_call(self, queue: str, task: str) -> Call:
        return self._call("release", queue, (self._time(), new_id(), task, HOUSEKEEPING))

    # -- supervisors -----------------------------------------------------------------------------

    def promote(self, queue: str, keeper: str, *, force: bool = False) -> Promoted:
        """Moves what is due to ``ready``, as the queue's timekeeper."""
        args = (self._time(), keeper, int(force), HOUSEKEEPING, KEEPER_GRACE)
        return Promoted(*self.server.call(self._call("promote", queue, args)))

    def renew(
        self,
        queues: Iterable[str],
        holders: Sequence[str],
        lease: int,
        cursor: str = "",
        failed: Callable[[str, BaseException], object] = raise_it,
    ) -> dict[str, Renewed]:
        """Renews the holders' leases in every queue, one round trip in all.

        ``failed`` is called with the queues where that was not possible, and why.
        """
        args: list[Arg] = [self._time(), lease, cursor, *holders]
        calls = {queue: self._call("renew", queue, args) for queue in queues}
        answers = {}
        for queue, reply in zip(calls, self.server.call_each(list(calls.values())), strict=True):
            if isinstance(reply, BaseException):
                failed(queue, reply)
            else:
                answers[queue] = renewed(holders, reply)
        return answers

    def reclaim(
        self,
        queue: str,
        holder: str,
        failure: bytes,
        *,
        died: bool = False,
        started: Collection[str] = (),
    ) -> tuple[list[str], list[str]]:
        """Takes back everything an ended holder held: (ids taken, ids given up as dead).

        ``died``: its process is known to be dead; ``started``: the jobs it had started, which run
        alone from then on. Without it only a lapsed lease counts. Holder "" stands for every
        unknown holder.
        """
        taken: list[str] = []
        hopeless: list[str] = []
        cursor = 0
        while cursor >= 0:
            args: list[Arg] = [
                self._time(),
                holder,
                "died" if died else "reap",
                cursor,
                LOST_LIMIT,
                self.limits.dead_retention,
                failure,
                *started,
            ]
            ids, cursor, lost = self.server.call(self._call("reclaim", queue, args))
            taken += text(ids).split()
            hopeless += text(lost).split()
        return taken, hopeless

    def rights(self, queue: str, commands: Sequence[str]) -> list[int]:
        """The places of those commands that the server does not let its user send."""
        return [int(at) for at in self.server.call(self._call("rights", queue, commands))]

    def trim(self, queue: str) -> int:
        """Deletes ended jobs over their age or count, up to HOUSEKEEPING; how many."""
        keep = self.limits
        args = (self._time(), HOUSEKEEPING, keep.succeeded, keep.dead, keep.cancelled)
        return int(self.server.call(self._call("trim", queue, args)))

    def measure(self, queue: str) -> int:
        """Notes how many jobs are ready, for the queue's history; how many there are."""
        return int(self.server.call(self.timed_call("measure", queue, ())))

    def sweep(self, queue: str, place: str = "", cursor: str = "0", *, mend: bool = True) -> Swept:
        """Looks through one chunk of the queue for what was left behind, and mends it.

        Without a ``place`` it goes on where the queue's own walk stands, which all workers share
        and none hurries: a chunk each 200 ms, and a rest of 50 s at its end.
        What is ``unheld`` is for ``reclaim(queue, "", …)``.
        """
        args: list[Arg] = [
            self._time(),
            place,
            cursor,
            SWEEP,
            int(mend),
            self.limits.dead_retention,
            self.notice(queue, EMPTIED),
        ]
        return swept(self.server.call(self._call("sweep", queue, args)))

    def walk(self, queue: str, *, mend: bool) -> Iterator[Swept]:
        """Sweeps the whole queue, chunk by chunk."""
        chunk = Swept(FIRST, "0", 0, {})
        while chunk.place:
            chunk = self.sweep(queue, chunk.place, chunk.cursor, mend=mend)
            yield chunk

    # -- operators -------------------------------------------------------------------------------

    def operator_call(self, name: str, queue: str, args: Sequence[Arg], *, timed: bool) -> Call:
        """The call of one of the scripts in steering.py and inspector/; ``timed``: it asks when."""
        return self._call(name, queue, [self._time(), *args] if timed else args)

    def survey_call(self, queue: str, skip: int, holders: int) -> Call:
        """The call that reads a queue at one moment; see inspector.py."""
        return self._call("survey", queue, (self._time(), skip, holders, HOUSEKEEPING))

    def types_call(self, queue: str) -> Call:
        """The call that reads what a queue's keys are."""
        return self._call("types", queue, ())

    def weigh_call(self, queue: str, samples: int) -> Call:
        """The call that reads how much memory a queue's keys take."""
        return self._call("weigh", queue, (samples,))


@lru_cache(maxsize=1024)
def derived_number(queue: str) -> int:
    """A number for ids that are made where Redis cannot be asked for the queue's own."""
    return DERIVED + crc32(queue.encode()) % (9 * DERIVED)


def needs_confirmation(call: Call, letters: str) -> bool:
    """Whether an enqueue wrote nothing, so that there was nothing its WAIT could wait for.

    The jobs are in since an earlier call, and whether that was confirmed is not known here.
    """
    return call.wait is not None and not call.unconfirmed and "N" not in letters


def chunks(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    """The items in runs of at most ``size``."""
    return (items[at : at + size] for at in range(0, len(items), size))
