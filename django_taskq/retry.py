"""When a failed job runs again: backoffs, and the policy that decides with them.

Layer 1: pure, no I/O. Delays are seconds.
"""

from __future__ import annotations

import logging
import math
import random as _random
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from .exceptions import Fail, InvalidOption, Retry, Seconds, TaskTimeout

logger = logging.getLogger("django_taskq.retry")

# (number of the attempt that failed, from 1; its error) -> seconds
Delay = Callable[[int, BaseException | None], float]
# What a task declares: the same, but it may answer with a timedelta, or None for the default.
BackoffFunction = Callable[[int, BaseException | None], Seconds | None]
Backoff = Seconds | Sequence[Seconds] | BackoffFunction | None
Errors = tuple[type[BaseException] | str, ...]

MAX_ATTEMPTS = 65_535  # as many as a job's record can count
MAX_TABLE = 1_000  # delays in a backoff
LONGEST = 10 * 365 * 86_400.0  # ten years: a longer delay is a mistake, and its ms must fit
LONGEST_OPTION = 100 * 365 * 86_400.0

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60


# --- values of options ----------------------------------------------------------------------------


def bad_option(option: str, value: Any, must: str) -> InvalidOption:
    """The error that names option and value: ``timeout=-3: must be a positive number ...``."""
    try:
        shown = _repr.repr(value)
    except ValueError:  # an integer too long to be written down
        shown = f"<{type(value).__name__}>"
    return InvalidOption(f"{option}={shown}: {must}")


def as_seconds(value: Any, option: str, *, zero: bool = True) -> float:
    """``value``, a number of seconds or a timedelta, as seconds.

    Raises InvalidOption, naming ``option``, for anything else, for what is negative or not
    finite, and for 0 unless ``zero`` is allowed.
    """
    least = "of at least 0" if zero else "above 0"
    must = f"must be a number of seconds {least}, or a timedelta"
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # No float can hold some integers, and those are too long in any case.
        seconds = float(min(max(value, -1), 2**63)) if isinstance(value, int) else float(value)
    else:
        raise bad_option(option, value, must)
    if math.isnan(seconds) or seconds < 0 or (seconds == 0 and not zero):
        raise bad_option(option, value, must)
    if seconds > LONGEST_OPTION:
        raise bad_option(option, value, "must not be more than a hundred years")
    return seconds


def check_max_attempts(value: Any, option: str = "max_attempts") -> int | None:
    """``value`` if it is a whole number from 1, or None for no limit. Raises InvalidOption."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ATTEMPTS:
        must = f"must be a whole number from 1 to {MAX_ATTEMPTS:,}, or None for no limit"
        raise bad_option(option, value, must)
    return int(value)


def check_errors(value: Any, option: str) -> Errors:
    """``value``, exception classes or their dotted names, as a tuple. Raises InvalidOption."""
    single = isinstance(value, str | type)
    if not single and not isinstance(value, list | tuple | set | frozenset):
        raise bad_option(option, value, _ERRORS)
    items = (value,) if single else tuple(value)
    for item in items:
        is_class = isinstance(item, type) and issubclass(item, BaseException)
        if not is_class and not (isinstance(item, str) and is_dotted(item)):
            raise bad_option(option, item, _ERRORS)
    return items


_ERRORS = "must be exception classes or their dotted names, such as 'requests.Timeout'"


def is_dotted(name: str) -> bool:
    """Whether ``name`` is made of identifiers with dots between them."""
    return all(part.isidentifier() for part in name.split("."))


def dotted_name(cls: type[BaseException] | str) -> str:
    """``module.Class`` of an exception class."""
    return cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__qualname__}"


# --- backoff --------------------------------------------------------------------------------------


def default_backoff(retries: int, random: Callable[[], float] = _random.random) -> float:
    """``n**4 + 15 + random(0..29) * (n + 1)`` seconds before retry ``n``, counted from 0.

    The formula of Sidekiq, taken over by asynq: about half a minute, then 40 s, 2 min, 4 min, ...
    and three weeks for 25 retries in all. The random part keeps jobs that failed together from
    coming back together.
    """
    retries = min(retries, 1_000)  # far beyond LONGEST already, and the power stays small
    return float(retries**4 + 15 + int(random() * 30) * (retries + 1))


def normalize_backoff(value: Any, option: str = "backoff") -> Any:
    """A backoff in its hashable form: None, seconds, a tuple of seconds, or the callable itself.

    Raises InvalidOption for anything else.
    """
    if value is None or (callable(value) and not isinstance(value, type)):
        return value
    if isinstance(value, list | tuple):
        if not 1 <= len(value) <= MAX_TABLE:
            raise bad_option(option, value, f"must have 1 to {MAX_TABLE:,} delays in it")
        return tuple(as_seconds(item, f"{option}[{at}]") for at, item in enumerate(value))
    if isinstance(value, int | float | timedelta):
        return as_seconds(value, option)
    must = "must be seconds, a timedelta, a list of them, or a function (attempt, error) -> seconds"
    raise bad_option(option, value, must)


def make_backoff(value: Any, random: Callable[[], float] = _random.random) -> Delay:
    """The function (number of the failed attempt, from 1; error) -> seconds for a backoff.

    ``value``: None for the default; seconds or a timedelta for a constant; a sequence of them for
    a table whose last entry repeats; a callable of the same two arguments that answers with
    seconds, a timedelta, or None for the default. Raises InvalidOption. What is returned never
    raises: a callable that does is logged, and the default taken, for a retry must not be lost.
    """
    normal = normalize_backoff(value)

    def default(attempt: int, error: BaseException | None = None) -> float:
        return default_backoff(max(attempt - 1, 0), random)

    if normal is None:
        return default
    if callable(normal):
        return _guarded(normal, default)
    delays: tuple[float, ...] = normal if isinstance(normal, tuple) else (normal,)

    def from_table(attempt: int, error: BaseException | None = None) -> float:
        return delays[min(max(attempt, 1), len(delays)) - 1]

    return from_table


def _guarded(function: BackoffFunction, default: Delay) -> Delay:
    def delay(attempt: int, error: BaseException | None = None) -> float:
        try:
            answer = function(attempt, error)
            if answer is not None:
                return as_seconds(answer, "backoff()")
        except Exception:
            logger.exception("The task's backoff failed; its default delay is used instead")
        return default(attempt, error)

    return delay


def is_portable(value: Any) -> bool:
    """Whether a backoff can travel in an envelope: all but callables can."""
    return not callable(value)


def to_json(value: Any) -> Any:
    """A backoff as JSON. Raises InvalidOption for a callable."""
    if not is_portable(value):
        must = "a function cannot travel in a job: declare it on the task"
        raise bad_option("backoff", value, must)
    normal = normalize_backoff(value)
    return [short(item) for item in normal] if isinstance(normal, tuple) else short(normal)


def from_json(raw: Any) -> Any:
    """A backoff from its JSON. Raises InvalidOption."""
    return normalize_backoff(raw)


def short(seconds: float | None) -> float | int | None:
    """Whole seconds without ``.0``: two bytes less in each envelope."""
    return int(seconds) if isinstance(seconds, float) and seconds.is_integer() else seconds


# --- the policy -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class RetryPolicy:
    """Decides after each failed attempt whether the job runs again, and when.

    ``max_attempts``: runs in all, None for no limit. ``backoff``: see ``make_backoff``.
    ``retry_on``, ``give_up_on``: exception classes or dotted names; the second beats the first.
    A name is compared with the names of the error's classes: nothing is ever imported by it.
    """

    max_attempts: int | None = 5
    backoff: Any = None
    retry_on: Errors = (Exception,)
    give_up_on: Errors = ()
    random: Callable[[], float] = _random.random

    def __post_init__(self) -> None:
        check_max_attempts(self.max_attempts)
        check_errors(self.retry_on, "retry_on")
        check_errors(self.give_up_on, "give_up_on")
        normalize_backoff(self.backoff)

    def decide(self, attempt: int, error: BaseException) -> float | None:
        """Seconds until the next attempt; None if the job is dead.

        ``attempt``: the number of the attempt that just failed, from 1; ``error``: what it
        raised. An explicit Retry asks neither ``retry_on`` nor ``give_up_on``.
        """
        if isinstance(error, Fail):
            return None
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return None
        if not isinstance(error, Retry) and not self._is_worth_it(error):
            return None
        return min(self._wait(attempt, error), LONGEST)

    def _wait(self, attempt: int, error: BaseException) -> float:
        if isinstance(error, Retry) and error.after is not None:
            try:
                return as_seconds(error.after, "Retry(after)")
            except InvalidOption as problem:
                logger.error("%s; the task's backoff is used instead", problem)
        return self._delay(attempt, error)

    def _is_worth_it(self, error: BaseException) -> bool:
        if matches(error, self.give_up_on):
            return False
        return matches(error, self.retry_on)

    @cached_property
    def _delay(self) -> Delay:
        return make_backoff(self.backoff, self.random)


def matches(error: BaseException, kinds: Errors) -> bool:
    """Whether ``error`` is of one of these classes, given themselves or by their dotted names."""
    lineage: tuple[type, ...] = type(error).__mro__
    if isinstance(error, TaskTimeout):
        # No Exception only so that the task's own ``except`` does not swallow it: to whoever
        # declares ``retry_on`` a timeout is a failure like others.
        lineage = (*lineage, TimeoutError, OSError, Exception)
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in lineage}
    names.update(cls.__qualname__ for cls in lineage if cls.__module__ == "builtins")
    return any(kind in names if isinstance(kind, str) else kind in lineage for kind in kinds)
