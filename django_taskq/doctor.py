"""What is wrong with the queues, how bad it is, and what to do about it; mends it if told to.

Each part is a function that yields findings. One that is added to ``PARTS`` is all that another
kind of finding needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from . import registry
from .broker import health
from .broker.broker import Broker
from .broker.inspector import Inspector, QueueState
from .broker.keys import QUEUE_KEYS
from .broker.sweep import CHECKS, Check
from .clock import now_ms
from .exceptions import BrokerUnavailable, WorkerCrashed
from .job import Failure, State

EXAMPLES = 5  # ids in a finding
PATIENCE = 60_000  # ms that workers have to do by themselves what they should
HEAVY = 128 * 1024 * 1024  # bytes of a key that a Cluster moves without a noticeable halt
NEARLY_FULL = 0.9  # of maxmemory; the scripts run lean from here on
LOOK_AGAIN = 1.0  # seconds after which what may be seen for a moment is looked at again


@dataclass(frozen=True)
class Finding:
    """What there is to say. ``hint``: what to do; ``mended``: it is no problem any more."""

    level: str  # ok, warning or error
    queue: str  # "" for the server
    name: str
    message: str
    hint: str = ""
    count: int = 0
    examples: tuple[str, ...] = ()
    mended: bool = False

    @property
    def is_problem(self) -> bool:
        return self.level != "ok" and not self.mended


# (title, how much there is to do) -> a block in which the function is told what was done
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def silent(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress that nobody looks at."""
    yield lambda done: None


class Doctor:
    """Examines the queues of one broker.

    ``settings``: the names in QUEUES, [] for any; ``fix``: mends what can be mended.
    """

    def __init__(
        self,
        broker: Broker,
        settings: Sequence[str] = (),
        *,
        fix: bool = False,
        allow_eviction: bool = False,
        progress: Progress = silent,
    ) -> None:
        self.broker = broker
        self.inspector = Inspector(broker)
        self.settings = settings
        self.fix = fix
        self.allow_eviction = allow_eviction
        self.progress = progress

    def examine(self, queues: Sequence[str] | None = None) -> Iterator[Finding]:
        """Everything there is to say; None: all queues there are."""
        try:
            names = self.broker.queues() if queues is None else queues
            for each in health.check(self.broker, names, allow_eviction=self.allow_eviction):
                yield Finding(each.level, "", "server", each.message, each.hint)
            yield from server_memory(self)
            for name in names:
                yield from list(wrong_types(self, name)) or self._parts(name)
        except BrokerUnavailable as error:
            yield Finding("error", "", "unreachable", str(error), "Is URL right? Is the server up?")

    def _parts(self, name: str) -> Iterator[Finding]:
        state = self.inspector.queue(name)
        sound = True
        for part in PARTS:
            for finding in part(self, state):
                sound = sound and finding.level == "ok"
                yield finding
        if sound:
            jobs = sum(state.states.values())
            yield Finding("ok", name, "sound", "nothing is wrong", count=jobs)


# -- the server ------------------------------------------------------------------------------------


def server_memory(doctor: Doctor) -> Iterator[Finding]:
    """How near the server is to its limit."""
    used, most = doctor.inspector.memory()
    if most and used > NEARLY_FULL * most:
        yield Finding(
            "error" if used >= most else "warning",
            "",
            "memory",
            f"the server uses {used / most:.0%} of its maxmemory",
            "At 100 % enqueue() is refused; workers go on. Raise maxmemory, or keep less: see "
            "retention and KEEP.",
        )


def wrong_types(doctor: Doctor, queue: str) -> Iterator[Finding]:
    """Keys that somebody else has written, or another release: nothing more can be read then."""
    for name, kind in doctor.inspector.wrong_types(queue).items():
        yield Finding(
            "error",
            queue,
            "wrong-type",
            f"the key {doctor.broker.key(queue, name)} is a {kind}, "
            f"not a {QUEUE_KEYS[name].lower()}",
            "Another program writes under this PREFIX, or an older release of this one: stop the "
            "workers, look at the key, and delete or rename it.",
        )


# -- the parts of a queue --------------------------------------------------------------------------


def not_in_settings(doctor: Doctor, state: QueueState) -> Iterator[Finding]:
    """Jobs where no worker looks by default."""
    if doctor.settings and state.name not in doctor.settings and state.unfinished:
        yield Finding(
            "warning",
            state.name,
            "not-in-settings",
            f"{state.unfinished} jobs wait, and the queue is not in QUEUES",
            "No worker serves it unless --queues names it: add it to QUEUES until it is empty.",
            state.unfinished,
        )


def not_served(doctor: Doctor, state: QueueState) -> Iterator[Finding]:
    """Jobs that should have started, and nobody is there."""
    alive = state.holders - state.lapsed
    if state.paused:
        yield Finding("ok", state.name, "paused", "the queue is paused")
    elif state.states[State.READY] and state.waits > PATIENCE and not alive:
        yield Finding(
            "error",
            state.name,
            "not-served",
            f"the next job has been ready for {duration(state.waits)}, and no worker is there",
            "Start one: manage.py taskq worker.",
            state.states[State.READY],
            (state.next_job,),
        )
    if state.late > PATIENCE:
        yield Finding(
            "error",
            state.name,
            "late",
            f"a scheduled job has been due for {duration(state.late)}",
            "Workers move what is due: is one running for this queue, and can it reach Redis?",
        )


def at_limits(doctor: Doctor, state: QueueState) -> Iterator[Finding]:
    """Jobs that wait for room under their limits, as they should."""
    if state.at_limits:
        gates = [gate for gate in doctor.inspector.limits(state.name).gates if gate.waiting]
        busiest = sorted(gates, key=lambda gate: -gate.waiting)[:EXAMPLES]
        yield Finding(
            "ok",
            state.name,
            "at-limits",
            f"{state.at_limits} jobs wait for room under their limits",
            count=state.at_limits,
            examples=tuple(f"{gate.name} ({gate.waiting:,})" for gate in busiest),
        )


def unknown_tasks(doctor: Doctor, state: QueueState) -> Iterator[Finding]:
    """Jobs that no code here can run."""
    for name, count in state.parked.items():
        if registry.find(name) is None:
            yield Finding(
                "warning",
                state.name,
                "unknown-task",
                f"{count} jobs wait for the task {name}, which this project does not have",
                "They run as soon as a worker knows it: deploy it, or name it among the aliases of "
                "the task that took its place.",
                count,
            )


def lapsed_leases(doctor: Doctor, state: QueueState) -> Iterator[Finding]:
    """Processes that are gone and whose jobs nobody took back."""
    dead = []
    for holder in doctor.inspector.holders(state.name):
        if holder.left > -PATIENCE:  # in order of their ends: those behind it are fresher
            break
        dead.append(holder)
    if not dead:
        return
    if doctor.fix:
        for holder in dead:
            failure = vanished(holder.id, "its whole worker vanished")
            line = doctor.broker.notice(state.name, failure)
            doctor.broker.reclaim(state.name, holder.id, line)
    yield Finding(
        "error",
        state.name,
        "lapsed",
        f"{len(dead)} processes lost their lease up to {duration(-dead[0].left)} ago, and what "
        "they held was not taken back",
        "Any worker of the queue does it, or --fix.",
        len(dead),
        tuple(holder.id for holder in dead[:EXAMPLES]),
        mended=doctor.fix,
    )


def heavy_keys(doctor: Doctor, state: QueueState) -> Iterator[Finding]:
    """Keys that a Cluster cannot move without a halt; elsewhere their size does not matter."""
    if not doctor.broker.server.is_cluster:
        return
    for name, size in doctor.inspector.weights(state.name).items():
        if size > HEAVY:
            yield Finding(
                "warning",
                state.name,
                "heavy",
                f"the key {doctor.broker.key(state.name, name)} has about {size >> 20} MB",
                "Moving its slot stops the node for a second and more: drain the queue first, or "
                "split it.",
                size,
            )


def left_behind(doctor: Doctor, state: QueueState) -> Iterator[Finding]:
    """What the sweep finds, and with ``fix`` mends."""
    found: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    total = sum(state.states.values()) + sum(state.sizes.values())
    with doctor.progress(state.name, total) as done:
        for chunk in doctor.broker.walk(state.name, mend=doctor.fix):
            done(chunk.looked)
            for name, ids in chunk.found.items():
                counts[name] = counts.get(name, 0) + len(ids)
                examples = found.setdefault(name, [])
                examples += ids[: EXAMPLES - len(examples)]
    if "unheld" in counts and doctor.fix:
        failure = vanished("", "its process is not known any more")
        doctor.broker.reclaim(state.name, "", doctor.broker.notice(state.name, failure))
    for name, count in counts.items():
        check = CHECKS[name]
        if check.passing and not doctor.fix and not still_there(doctor, state.name, check):
            continue
        yield Finding(
            "error" if check.grave else "warning",
            state.name,
            name,
            f"{check.what}: {count}",
            check.mended if doctor.fix else f"--fix: {check.mended}.",
            count,
            tuple(found[name]),
            mended=doctor.fix,
        )


def still_there(doctor: Doctor, queue: str, check: Check) -> bool:
    """Whether what may be seen for a moment is seen a second time."""
    time.sleep(LOOK_AGAIN)
    return check.name in doctor.broker.sweep(queue, check.place, mend=False).found


PARTS: list[Callable[[Doctor, QueueState], Iterator[Finding]]] = [
    not_in_settings,
    not_served,
    at_limits,
    unknown_tasks,
    lapsed_leases,
    heavy_keys,
    left_behind,
]


def vanished(holder: str, cause: str) -> Failure:
    """The failure of a job that is given up because what ran it went away again and again."""
    name = f"{WorkerCrashed.__module__}.{WorkerCrashed.__qualname__}"
    return Failure(c=name, m=cause, w=holder, f=now_ms())


def duration(ms: int) -> str:
    """A time in the largest unit that fits: ``90 s``, ``12 min``, ``3 h``, ``4 days``."""
    for size, unit in ((86_400_000, "days"), (3_600_000, "h"), (60_000, "min")):
        if ms >= 2 * size:
            return f"{ms // size} {unit}"
    return f"{ms / 1000:.0f} s"
