"""What a job asks for beside being run, as the scripts read it: a lock, limits, its turn.

Layer 1: pure, no I/O. The layout is that of ``broker/lua/asks.lua``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any

from .codec import Signature
from .codec.envelope import encode
from .conf import TaskOptions
from .exceptions import InvalidOption
from .job_keys import KeyMaker, digest, key_maker
from .limits import Rate, Weights, check_weight
from .unique import Unique

ASK = Struct(">QBd")  # ms that the lock stays at least, flags, what a turn costs
GATE = Struct(">Idd")  # jobs at once, ms from one to the next, ms of slack; 0: no such limit
UNTIL_STARTED, REPLACE, RAISE = 1, 2, 4  # flags; scripts read the first alone

ON_CONFLICT = {"return": 0, "replace": REPLACE, "raise": RAISE}


def on_conflict(ask: bytes) -> str:
    """What a job's enqueue wants done when another has its lock: see Unique."""
    flags = ask[8] if len(ask) > 8 else 0
    return "replace" if flags & REPLACE else "raise" if flags & RAISE else "return"


def gate(limit: str, name: str, concurrency: int | None, rate: Rate | None) -> bytes:
    """A gate. ``limit``: whose numbers it goes by; ``name``: who shares it."""
    numbers = (rate.interval, rate.slack) if rate else (0.0, 0.0)
    return GATE.pack(concurrency or 0, *numbers) + text(limit) + text(name)


def text(value: str) -> bytes:
    """Text that ends with a zero; it has none itself."""
    return value.encode("utf-8", "replace").replace(b"\0", b"?") + b"\0"


class Asks:
    """What the jobs of one task ask for.

    ``secret``: makes the digests of arguments useless to whoever reads Redis. Raises
    InvalidOption for options that do not go together.
    """

    def __init__(
        self, name: str, options: TaskOptions, signature: Signature, secret: str = ""
    ) -> None:
        self._name = name
        self._signature = signature
        self._secret = secret
        self._unique: Unique | None = options.unique
        self._weights: Weights | None = options.fair_weights
        self._lock = self._maker(options.unique.key if options.unique else None, "unique key")
        self._turn = self._maker(options.fair_by, "fair_by", plain=True)
        self._limits = (options.concurrency_limit, options.rate_limit)
        self._gate = self._maker(options.limit_key, "limit_key")
        if any(self._limits):
            self._limit = limit_name(options.limit_key, name)
        elif options.limit_key is not None:
            raise InvalidOption(
                f"limit_key={options.limit_key!r}: needs a rate_limit or a concurrency_limit"
            )
        if options.fair_weights is not None and options.fair_by is None:
            raise InvalidOption("fair_weights: needs fair_by, which says whose weights they are")

    def _maker(self, option: Any, name: str, *, plain: bool = False) -> KeyMaker | None:
        if option is None:
            return None
        parameters = self._signature.names
        if plain and option in parameters:
            option = f"{{{option}}}"
        return key_maker(option, name, parameters, self._signature.sensitive)

    def of(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        plain_args: Sequence[Any],
        plain_kwargs: Mapping[str, Any],
    ) -> bytes:
        """What the job with these arguments asks for; ``plain_``: the same as JSON."""
        named = self._signature.named(plain_args, plain_kwargs)
        flags, stays, lock = 0, 0, ""
        if self._unique is not None:
            flags = ON_CONFLICT[self._unique.on_conflict]
            flags |= UNTIL_STARTED if self._unique.until == "started" else 0
            stays = round(float(self._unique.ttl) * 1000)  # type: ignore[arg-type]
            lock = self._lock_of(args, kwargs, plain_args, plain_kwargs, named)
        turn, cost = "", 0.0
        if self._turn is not None:
            turn = self._turn(args, kwargs, named)
            cost = 1 / self._weight(turn)
        ask = ASK.pack(stays, flags, cost) + text(lock) + text(turn)
        if any(self._limits):
            name = self._gate(args, kwargs, named) if self._gate else self._limit
            ask += gate(self._limit, name, *self._limits)
        return ask

    def _lock_of(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        plain_args: Sequence[Any],
        plain_kwargs: Mapping[str, Any],
        named: Mapping[str, Any],
    ) -> str:
        """A digest, because arguments are long and may be nobody else's business."""
        if self._lock is not None:
            return digest(self._lock(args, kwargs, named), self._secret)
        given = self._signature.named(plain_args, plain_kwargs, defaults=False)
        return digest(encode([self._name, sorted(given.items())]), self._secret)

    def _weight(self, key: str) -> float:
        if self._weights is None:
            return 1.0
        if callable(self._weights):
            return check_weight(self._weights(key), f"fair_weights({key!r})")
        return self._weights.get(key, 1.0)


NOTHING = ASK.pack(0, 0, 0.0) + b"\0\0"


def limit_name(limit_key: Any, task: str) -> str:
    """Whose numbers a gate goes by: all with one ``limit_key`` share them, else a task's jobs."""
    if limit_key is None:
        return task
    if callable(limit_key):
        return f"{limit_key.__module__}.{getattr(limit_key, '__qualname__', 'function')}"
    return str(limit_key)


def asks_for(
    name: str, options: TaskOptions, signature: Signature, secret: Callable[[], str] = str
) -> Asks | None:
    """The Asks of a task; None if its jobs ask for nothing."""
    if any(getattr(options, option) is not None for option in ASKING):
        return Asks(name, options, signature, secret())
    return None


ASKING = ("unique", "rate_limit", "concurrency_limit", "limit_key", "fair_by", "fair_weights")
