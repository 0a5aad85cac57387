"""What a job asks for beside being run, as the scripts read it: a lock, limits, its turn.

Layer 1: pure, no I/O. The layout is that of ``broker/lua/asks.lua``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from struct import Struct
from typing import Any

import msgspec

from .codec import Signature
from .exceptions import InvalidOption
from .job_keys import KeyMaker, Parameters, digest, failure, key_maker, secret_of
from .limits import Limit, Rate, check_weight
from .options import TaskOptions

ASK = Struct(">QBd")  # ms that the lock stays at least, flags, what a turn costs
GATE = Struct(">Idd")  # jobs at once, ms from one to the next, ms of slack; 0: no such limit
UNTIL_STARTED, REPLACE, RAISE = 1, 2, 4  # flags; scripts read the first alone

ON_CONFLICT = {"return": 0, "replace": REPLACE, "raise": RAISE}
ASKING = ("unique", "rate_limit", "concurrency_limit", "limit_key", "fair_by", "fair_weights")
LIMITING = ("rate_limit", "concurrency_limit")

# Calls that differ in the order of a dict are the same.
_canonical = msgspec.json.Encoder(order="sorted").encode


def on_conflict(ask: bytes) -> str:
    """What a job's enqueue wants done when another has its lock: see Unique."""
    flags = ask[8] if len(ask) > 8 else 0
    return "replace" if flags & REPLACE else "raise" if flags & RAISE else "return"


def text(value: str) -> bytes:
    """Text that ends with a zero; it has none itself."""
    return value.encode("utf-8", "replace").replace(b"\0", b"?") + b"\0"


NOTHING = ASK.pack(0, 0, 0.0) + text("") + text("")


def gate(limit: str, name: str, concurrency: int | None, rate: Rate | None) -> bytes:
    """A gate. ``limit``: whose numbers it goes by; ``name``: who shares it."""
    return unnamed_gate(limit, concurrency, rate) + text(name)


def unnamed_gate(limit: str, concurrency: int | None, rate: Rate | None) -> bytes:
    """The same without what differs from job to job."""
    return pack_numbers(Limit(concurrency, rate)) + text(limit)


def pack_numbers(limit: Limit) -> bytes:
    """The numbers of a limit."""
    rate = limit.rate
    times = (rate.interval, rate.slack) if rate else (0.0, 0.0)
    return GATE.pack(limit.concurrency or 0, *times)


def numbers_in(raw: bytes) -> tuple[Limit | None, Limit | None]:
    """What ``limits`` says of one: the numbers of the code, and those that a person gave instead.

    None for what is not there or cannot be.
    """
    if len(raw) == 2 * GATE.size:
        return _unpacked(raw[GATE.size :]), _unpacked(raw[: GATE.size])
    return (_unpacked(raw), None) if len(raw) == GATE.size else (None, None)


def _unpacked(raw: bytes) -> Limit | None:
    concurrency, interval, slack = GATE.unpack(raw)
    try:
        rate = Rate.of(interval, slack) if interval else None
    except (ArithmeticError, ValueError):  # InvalidOption is one
        return None
    return Limit(concurrency or None, rate)


def queue_gates(limits: Mapping[str, Limit]) -> dict[str, bytes]:
    """The gate of every job of a queue, for queues that have limits."""
    return {queue: gate("queue", "queue", *numbers) for queue, numbers in limits.items() if numbers}


class Asks:
    """What the jobs of one task ask for.

    ``own``: the options that the task sets itself, the others are settings; ``secret``: makes the
    digests of arguments useless to whoever reads Redis. Raises InvalidOption.
    """

    def __init__(
        self,
        name: str,
        options: TaskOptions,
        signature: Signature,
        own: Collection[str] = ASKING,
        secret: str = "",
    ) -> None:
        self._name = name
        self._signature = signature
        self._secret = secret_of(secret)
        self._own = own
        self._set_lock(options)
        weights = options.fair_weights or ()
        self._weights = weights if callable(weights) else dict(weights)
        self._turn = self._maker(options.fair_by, "fair_by")
        self._set_gate(options)
        varies = options.unique or self._turn or self._gate_key
        self._fixed = None if varies else self._head + text("") + text("") + self._gate

    def _set_lock(self, options: TaskOptions) -> None:
        unique = options.unique
        self._has_lock = unique is not None
        self._lock = self._maker(unique.key if unique else None, "unique", "Unique(key)")
        self._stays = self._flags = 0
        if unique is not None:
            self._stays = unique.stays_ms
            self._flags = ON_CONFLICT[unique.on_conflict]
            self._flags |= UNTIL_STARTED if unique.until == "started" else 0
        self._head = ASK.pack(self._stays, self._flags, 0.0)

    def _set_gate(self, options: TaskOptions) -> None:
        numbers = limit_of(options)
        self._gate, self._gate_key = b"", None
        if numbers:
            name = limit_name(options.limit_key, self._name)
            self._gate = unnamed_gate(name, *numbers)
            self._gate_key = self._maker(options.limit_key, "limit_key")
            if self._gate_key is None:
                self._gate += text(name)

    def _maker(self, option: Any, owner: str, name: str = "") -> KeyMaker | None:
        """``owner``: the task's option; ``name``: what it is called in errors."""
        if option is None:
            return None
        name = name or owner
        if owner not in self._own:
            name = f"TASK_DEFAULTS[{owner!r}]"
        parameters = parameters_of(self._signature)
        if owner == "fair_by" and isinstance(option, str) and "{" not in option:
            option = f"{{{option}}}"  # a parameter; one text for all would be nobody's turn
        return key_maker(option, name, parameters)

    def of(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        plain_args: Sequence[Any],
        plain_kwargs: Mapping[str, Any],
    ) -> bytes:
        """What the job with these arguments asks for; ``plain_``: the same as JSON.

        Raises InvalidArgument where its keys cannot be made, whatever a project's function raised,
        and InvalidOption for what such a function must not answer with.
        """
        if self._fixed is not None:
            return self._fixed
        named = self._signature.named(plain_args, plain_kwargs)
        lock, turn, head, gates = b"\0", b"\0", self._head, self._gate
        if self._has_lock:
            lock = text(self._lock_of(args, kwargs, named))
        if self._turn is not None:
            key = self._turn(args, kwargs, named)
            turn = text(key)
            head = ASK.pack(self._stays, self._flags, 1 / self._weight(key))
        if self._gate_key is not None:
            gates += text(f"key:{self._gate_key(args, kwargs, named)}")
        return head + lock + turn + gates

    def _lock_of(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], named: Mapping[str, Any]
    ) -> str:
        """A digest, because arguments are long and may be nobody else's business."""
        if self._lock is not None:
            return digest(self._lock(args, kwargs, named), self._secret)
        return digest(_canonical([self._name, named]), self._secret)

    def _weight(self, key: str) -> float:
        if callable(self._weights):
            try:
                weight = self._weights(key)
            except Exception as error:
                raise failure(self._weights, "fair_weights", error) from error
            return check_weight(weight, f"fair_weights({key!r})")
        return self._weights.get(key, 1.0)


def parameters_of(signature: Signature) -> Parameters:
    """What ``key_maker()`` wants to know of a task's function."""
    return Parameters(signature.name, signature.names, signature.sensitive, signature.others)


def limit_of(options: TaskOptions) -> Limit:
    """The limits in a task's options."""
    return Limit(options.concurrency_limit, options.rate_limit)


def limit_name(limit_key: Any, task: str) -> str:
    """Whose numbers a gate goes by: all with one ``limit_key`` share them, else a task's jobs.

    A user's key never meets the name of a task or of the queue's own gate.
    """
    if limit_key is None:
        return f"task:{task}"
    if callable(limit_key):
        name = getattr(limit_key, "__qualname__", "<")
        return f"task:{task}" if "<" in name else f"key:{limit_key.__module__}.{name}"
    return f"key:{limit_key}"


def check_company(own: Mapping[str, Any], options: TaskOptions) -> None:
    """Raises InvalidOption for an option that does nothing without another.

    ``own``: what the task sets itself. ``using(rate_limit=None)`` lifts a limit, and so its key
    may stay; settings may have a key for those tasks that have limits.
    """
    if own.get("limit_key") is not None and not limit_of(options) and not own.keys() & LIMITING:
        must = f"needs a {' or a '.join(LIMITING)}"
        raise InvalidOption(f"limit_key={own['limit_key']!r}: {must}")
    if own.get("fair_weights") is not None and options.fair_by is None and "fair_by" not in own:
        raise InvalidOption("fair_weights: needs fair_by, which says whose weights they are")


def asks_for(
    name: str,
    options: TaskOptions,
    signature: Signature,
    own: Mapping[str, Any],
    secret: Callable[[], str] = str,
) -> Asks | None:
    """The Asks of a task; None if its jobs ask for nothing. Raises InvalidOption."""
    check_company(own, options)
    if options.unique is None and options.fair_by is None and not limit_of(options):
        return None
    return Asks(name, options, signature, own, secret())
