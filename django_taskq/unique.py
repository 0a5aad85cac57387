"""One job like it at a time: what ``unique=`` may say.

Layer 1: pure, no I/O. Times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .job_keys import KeyOption, check_key
from .retry import as_seconds, bad_option
from .spelling import nearest

WORDS = ("until_started", "until_finished")
UNTIL = ("started", "finished")
ON_CONFLICT = ("return", "replace", "raise")


@dataclass(frozen=True, slots=True)
class Unique:
    """At most one job with a key in a queue.

    ``key``: text with the task's parameters in braces, or a function of its arguments; None: the
    task and all its arguments. ``until``: the lock is held until the job has "started", or until
    it has "finished". ``ttl``: and for at least so long after it was enqueued. ``on_conflict``:
    a second ``enqueue()`` returns the first job's result, replaces its arguments and its time, or
    raises DuplicateJob.
    """

    key: KeyOption | None = None
    until: str = "finished"
    ttl: float | timedelta = 0.0
    on_conflict: str = "return"

    def __post_init__(self) -> None:
        if self.key in WORDS:
            must = f"is a key; did you mean until={str(self.key).removeprefix('until_')!r}?"
            raise bad_option("Unique(key)", self.key, must)
        if self.key is not None:
            check_key(self.key, "Unique(key)")
        _word("Unique(until)", self.until, UNTIL)
        _word("Unique(on_conflict)", self.on_conflict, ON_CONFLICT)
        object.__setattr__(self, "ttl", as_seconds(self.ttl, "Unique(ttl)"))

    @property
    def stays_ms(self) -> int:
        """How long the lock stays at least, in ms."""
        return round(float(self.ttl) * 1000)  # type: ignore[arg-type]


def _word(name: str, value: Any, words: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in words:
        must = f"must be one of {', '.join(map(repr, words))}"
        hint = nearest(value, words)
        raise bad_option(name, value, f"{must}; {hint}" if hint.startswith("did") else must)


def check_unique(value: Any, name: str) -> Unique | None:
    """The option as it is kept. Raises InvalidOption."""
    if value is None or isinstance(value, Unique):
        return value
    if isinstance(value, int | float | timedelta) and not isinstance(value, bool):
        return Unique(ttl=as_seconds(value, name, zero=False))
    if isinstance(value, str) and value in WORDS:
        return Unique(until=value.removeprefix("until_"))
    must = "must be 'until_started', 'until_finished', a number of seconds, or a Unique(...)"
    hint = nearest(value, WORDS) if isinstance(value, str) else ""
    raise bad_option(name, value, f"{must}; {hint}" if hint.startswith("did") else must)
