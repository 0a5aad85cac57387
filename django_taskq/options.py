"""The options of a task: what may be declared, what holds, what travels with a job.

Layer 1: pure, no I/O. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from . import retry
from .exceptions import InvalidOption
from .job_keys import KeyOption, check_key
from .limits import Rate, Weights, check_concurrency, check_rate, check_weights
from .retry import Errors, as_seconds, bad_option, check_errors, check_max_attempts
from .spelling import nearest
from .unique import Unique, check_unique

DAY = 86_400.0
MAX_TAG_LENGTH = 64
MAX_NAME_LENGTH = 255

# (value, name of the option) -> the value as it is kept; raises InvalidOption.
Check = Callable[[Any, str], Any]


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """The effective options of a task; the defaults here are those of the package.

    ``timeout`` and ``expires_in``: None for no limit. ``retention``: how long an ended job is
    kept. ``on_commit``: wait for the commit of an open transaction; a string names its database.
    """

    NAMES: ClassVar[tuple[str, ...]]

    max_attempts: int | None = 5
    backoff: Any = None
    retry_on: Errors = (Exception,)
    give_up_on: Errors = ()
    timeout: float | None = 1800.0
    expires_in: float | None = None
    retention: float = DAY
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    on_commit: bool | str = True
    isolate: bool = False  # runs in a process of its own
    unique: Unique | None = None
    rate_limit: Rate | None = None
    concurrency_limit: int | None = None
    limit_key: KeyOption | None = None  # who shares the limits; None: the task's jobs
    fair_by: KeyOption | None = None  # whose jobs take turns
    fair_weights: Weights | None = None


TaskOptions.NAMES = tuple(option.name for option in fields(TaskOptions))


def _limit(value: Any, name: str) -> float | None:
    """Seconds above 0, or None for no limit."""
    try:
        return None if value is None else as_seconds(value, name, zero=False)
    except InvalidOption as error:
        raise InvalidOption(f"{error}, or None for no limit") from None


def check_texts(value: Any, name: str, each: Check) -> tuple[str, ...]:
    """A list of strings as a tuple, each once."""
    if not isinstance(value, list | tuple | set | frozenset):
        raise bad_option(name, value, "must be a list of strings")
    items = value if isinstance(value, list | tuple) else sorted(value, key=str)
    return tuple(dict.fromkeys(each(item, name) for item in items))


def _tag(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value.strip():
        raise bad_option(name, value, "must be text without control characters")
    if len(value) > MAX_TAG_LENGTH:
        raise bad_option(name, value, f"must not be longer than {MAX_TAG_LENGTH} characters")
    return str.__str__(value)


def _alias(value: Any, name: str) -> str:
    dotted = isinstance(value, str) and "." in value and retry.is_dotted(value)
    if not dotted or len(value) > MAX_NAME_LENGTH:
        must = "must be the dotted name of a task as it was, such as 'shop.tasks.send_invoice'"
        raise bad_option(name, value, must)
    return str.__str__(value)


def _parameter(value: Any, name: str) -> str:
    if isinstance(value, str) and value.isidentifier():
        return str.__str__(value)
    raise bad_option(name, value, "must be the name of a parameter")


def _on_commit(value: Any, name: str) -> bool | str:
    if isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise bad_option(name, value, "must be True, False, or the alias of a database")


def check_flag(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    raise bad_option(name, value, "must be True or False")


_CHECKS: dict[str, Check] = {
    "max_attempts": check_max_attempts,
    "backoff": retry.normalize_backoff,
    "retry_on": check_errors,
    "give_up_on": check_errors,
    "timeout": _limit,
    "expires_in": _limit,
    "retention": as_seconds,
    "aliases": lambda value, name: check_texts(value, name, _alias),
    "tags": lambda value, name: check_texts(value, name, _tag),
    "sensitive": lambda value, name: check_texts(value, name, _parameter),
    "on_commit": _on_commit,
    "isolate": check_flag,
    "unique": check_unique,
    "rate_limit": check_rate,
    "concurrency_limit": check_concurrency,
    "limit_key": lambda value, name: None if value is None else check_key(value, name),
    "fair_by": lambda value, name: None if value is None else check_key(value, name),
    "fair_weights": check_weights,
}

OF_FUNCTION = ("aliases", "sensitive")  # its former names, its parameters: no defaults for others
DEFAULTS = {name: check for name, check in _CHECKS.items() if name not in OF_FUNCTION}


def clean(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as TaskOptions keeps them: seconds as float, lists as tuples.

    Raises InvalidOption that names option and value, or the nearest name of an unknown one.
    """
    cleaned = {}
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is None:
            hint = nearest(name, TaskOptions.NAMES)
            raise InvalidOption(f"unknown task option {name!r}: {hint}")
        cleaned[name] = check(value, name)
    return cleaned


# --- options that travel in an envelope -----------------------------------------------------------


def _names(value: Errors) -> list[str]:
    return [retry.dotted_name(item) for item in value]


# The others say nothing about a job that is on its way, or have said it to Redis (asks.py).
_TO_JSON: dict[str, Callable[[Any], Any]] = {
    "max_attempts": lambda value: value,
    "backoff": retry.to_json,
    "retry_on": _names,
    "give_up_on": _names,
    "timeout": retry.short,
    "expires_in": retry.short,
    "retention": retry.short,
    "tags": list,
    "isolate": bool,
}


def portable(options: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of cleaned options, for an envelope. Raises InvalidOption for a function."""
    return {name: _TO_JSON[name](value) for name, value in options.items() if name in _TO_JSON}


def restore(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The options in an envelope.

    What this release does not know, or would not accept, is left out: another one wrote it.
    """
    options = {}
    for name, value in raw.items():
        if name in _TO_JSON:
            try:
                options[name] = _CHECKS[name](value, name)
            except InvalidOption:
                continue
    return options
