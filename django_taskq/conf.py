"""Options: what a task may declare, what a backend's settings may say, and what is wrong with them.

Layer 1: pure, no I/O. Times are seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple

from . import retry
from .address import check_url
from .exceptions import InvalidOption
from .job_keys import KeyOption, check_key
from .keyring import check_keys, check_sign
from .limits import Limit, Rate, Weights, check_concurrency, check_rate, check_weights
from .retry import Errors, as_seconds, bad_option, check_errors, check_max_attempts
from .spelling import nearest
from .unique import Unique, check_unique

DAY = 86_400.0
MAX_TAG_LENGTH = 64
MAX_NAME_LENGTH = 255
DURABILITIES = ("fast", "replicated", "local")
PROVIDERS = ("language", "timezone", "tenant", "user", "request", "trace")  # see context/

QUEUE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

# (value, name of the option) -> the value as it is kept; raises InvalidOption.
Check = Callable[[Any, str], Any]


# --- the options of a task ------------------------------------------------------------------------


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

OF_FUNCTION = ("aliases", "sensitive")  # its former names, its parameters: no defaults for others


def _limit(value: Any, name: str) -> float | None:
    """Seconds above 0, or None for no limit."""
    try:
        return None if value is None else as_seconds(value, name, zero=False)
    except InvalidOption as error:
        raise InvalidOption(f"{error}, or None for no limit") from None


def _texts(value: Any, name: str, each: Check) -> tuple[str, ...]:
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


_TASK_CHECKS: dict[str, Check] = {
    "max_attempts": check_max_attempts,
    "backoff": retry.normalize_backoff,
    "retry_on": check_errors,
    "give_up_on": check_errors,
    "timeout": _limit,
    "expires_in": _limit,
    "retention": as_seconds,
    "aliases": lambda value, name: _texts(value, name, _alias),
    "tags": lambda value, name: _texts(value, name, _tag),
    "sensitive": lambda value, name: _texts(value, name, _parameter),
    "on_commit": _on_commit,
    "isolate": lambda value, name: _flag(value, name),
    "unique": check_unique,
    "rate_limit": check_rate,
    "concurrency_limit": check_concurrency,
    "limit_key": lambda value, name: None if value is None else check_key(value, name),
    "fair_by": lambda value, name: None if value is None else check_key(value, name),
    "fair_weights": check_weights,
}


def clean(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as TaskOptions keeps them: seconds as float, lists as tuples.

    Raises InvalidOption that names option and value, or the nearest name of an unknown one.
    """
    cleaned = {}
    for name, value in options.items():
        check = _TASK_CHECKS.get(name)
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
                options[name] = _TASK_CHECKS[name](value, name)
            except InvalidOption:
                continue
    return options


# --- the settings of a backend --------------------------------------------------------------------


class Problem(NamedTuple):
    """Something wrong in ``TASKS``, for the system check."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """``OPTIONS["WORKER"]``: what ``runworker`` starts with."""

    concurrency: int = 10  # jobs at once in one process
    processes: int = 1
    lease: float = 30.0
    shutdown_timeout: float = 30.0
    start_method: str | None = None  # None: fork where that is safe


@dataclass(frozen=True, slots=True)
class KeepOptions:
    """``OPTIONS["KEEP"]``: how many ended jobs a queue keeps of each state."""

    succeeded: int = 100_000
    dead: int = 10_000
    cancelled: int = 100_000


@dataclass(frozen=True, slots=True)
class Options:
    """One backend's settings. ``queues``: weights by name; empty: any queue name will do."""

    alias: str = "default"
    url: str = field(default="redis://localhost:6379/0", repr=False)  # it holds a password
    prefix: str = "taskq"
    queues: Mapping[str, int] = field(default_factory=lambda: {"default": 1})
    task_defaults: TaskOptions = field(default_factory=TaskOptions)
    worker: WorkerOptions = field(default_factory=WorkerOptions)
    keep: KeepOptions = field(default_factory=KeepOptions)
    limits: Mapping[str, Limit] = field(default_factory=dict)  # of all jobs of a queue together
    dead_retention: float = 90 * DAY
    max_payload: int = 1_048_576  # bytes
    connect_timeout: float = 2.0
    socket_timeout: float = 5.0
    durability: str = "fast"
    replicas: int = 1  # that have to confirm a job, with durability "replicated"
    durability_timeout: float = 2.0
    allow_eviction: bool = False
    outbox: bool = False  # jobs of a transaction are written into the database with it
    mirror_database: str = ""  # the alias of the rows; "": where a router puts them
    mirror_retention: float = 90 * DAY  # of the rows of ended jobs
    mirror_keep: int = 1_000_000  # rows
    context: tuple[str, ...] = ("language", "timezone")  # what goes along with a job
    # None: what is set cannot be used, and no job is taken or run unsealed instead.
    sign: bool | str | None = False
    encryption_keys: tuple[bytes, ...] | None = field(default=(), repr=False)
    problems: tuple[Problem, ...] = ()

    @classmethod
    def parse(cls, alias: str, params: Any) -> Options:
        """The settings in ``TASKS[alias]``.

        Never raises: what is wrong becomes one of ``problems``, and its default is used.
        """
        problems: list[Problem] = []
        params = _mapping(params, f"TASKS[{alias!r}]", problems)
        where = f"TASKS[{alias!r}]['OPTIONS']"
        raw = _mapping(params.get("OPTIONS"), where, problems)
        values = _checked(raw, where, _CHECKS, problems, known=(*_CHECKS, *_SECTIONS))
        values = {name: None for name in _SEALING if name in raw} | values
        values = {name.lower(): value for name, value in values.items()}
        for name, section in _SECTIONS.items():
            inner = f"{where}[{name!r}]"
            values[name.lower()] = section(
                _mapping(raw.get(name), inner, problems), inner, problems
            )
        if params.get("QUEUES") is not None:
            values["queues"] = _queues(params["QUEUES"], f"TASKS[{alias!r}]['QUEUES']", problems)
        queues = values.get("queues", {"default": 1})
        if queues:
            _unknown(values["limits"], f"{where}['LIMITS']", queues, problems)
        _unknown(params, f"TASKS[{alias!r}]", ("BACKEND", "QUEUES", "OPTIONS"), problems)
        return cls(alias=alias, problems=tuple(problems), **values)


def _mapping(value: Any, where: str, problems: list[Problem]) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    problems.append(Problem(f"{where} is a {type(value).__name__}", "It must be a dict."))
    return {}


def _unknown(
    raw: Mapping[Any, Any], where: str, known: Iterable[str], problems: list[Problem]
) -> None:
    known = tuple(known)
    for name in raw:
        if name not in known:
            hint = nearest(name, known)
            problems.append(Problem(f"{where}: unknown key {name!r}", hint[0].upper() + hint[1:]))


def _checked(
    raw: Mapping[Any, Any],
    where: str,
    checks: Mapping[str, Check],
    problems: list[Problem],
    known: Iterable[str] = (),
) -> dict[str, Any]:
    """The values that pass their checks; a problem for each of the others."""
    _unknown(raw, where, known or checks, problems)
    values = {}
    for name, check in checks.items():
        if name in raw:
            try:
                values[name] = check(raw[name], name)
            except InvalidOption as error:
                sealing = name in _SEALING
                hint = "No job is taken or run" if sealing else "Its default is used"
                problems.append(Problem(f"{where}: {error}", f"{hint} until then."))
    return values


def _task_defaults(raw: Mapping[Any, Any], where: str, problems: list[Problem]) -> TaskOptions:
    checks = {name: check for name, check in _TASK_CHECKS.items() if name not in OF_FUNCTION}
    return replace(TaskOptions(), **_checked(raw, where, checks, problems))


def _worker(raw: Mapping[Any, Any], where: str, problems: list[Problem]) -> WorkerOptions:
    return WorkerOptions(**_checked(raw, where, _WORKER_CHECKS, problems))


def _keep(raw: Mapping[Any, Any], where: str, problems: list[Problem]) -> KeepOptions:
    return KeepOptions(**_checked(raw, where, _KEEP_CHECKS, problems))


def _limits(raw: Mapping[Any, Any], where: str, problems: list[Problem]) -> dict[str, Limit]:
    """The limits of queues. Whether there are such queues is seen later."""
    limits = {}
    for queue, numbers in raw.items():
        inner = f"{where}[{queue!r}]"
        found = _checked(_mapping(numbers, inner, problems), inner, _LIMIT_CHECKS, problems)
        limits[queue] = Limit(found.get("concurrency_limit"), found.get("rate_limit"))
        if not limits[queue] and not numbers:
            hint = f"Give it {' or '.join(_LIMIT_CHECKS)}."
            problems.append(Problem(f"{inner} limits nothing", hint))
    return limits


def _queues(raw: Any, where: str, problems: list[Problem]) -> dict[str, int]:
    """Weights by name. A name that cannot be used is left out."""
    if not isinstance(raw, Mapping | list | tuple | set | frozenset):
        hint = "It must be a dict of names and weights, or a list of names."
        problems.append(Problem(f"{where} is a {type(raw).__name__}", hint))
        return {"default": 1}
    weights = raw.items() if isinstance(raw, Mapping) else [(name, 1) for name in raw]
    queues = {}
    for name, weight in weights:
        if not isinstance(name, str) or not QUEUE_NAME.fullmatch(name):
            hint = "Use 1 to 64 letters, digits, '_', '.' and '-'."
            problems.append(Problem(f"{where}: bad queue name {name!r}", hint))
            continue
        try:
            queues[name] = _whole(1, 1_000)(weight, name)
        except InvalidOption as error:
            problems.append(Problem(f"{where}: bad weight {error}", "The weight 1 is used."))
            queues[name] = 1
    # Only an empty list means any name: a list of bad names must not open every queue.
    return queues if queues or not raw else {"default": 1}


# --- checks of single settings --------------------------------------------------------------------


def _whole(least: int, most: int) -> Check:
    def check(value: Any, name: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise bad_option(name, value, f"must be a whole number from {least:,} to {most:,}")
        return value

    return check


def _seconds(least: float, most: float) -> Check:
    def check(value: Any, name: str) -> float:
        seconds = as_seconds(value, name)
        if not least <= seconds <= most:
            raise bad_option(name, value, f"must be from {least:g} to {most:g} seconds")
        return seconds

    return check


def _prefix(value: Any, name: str) -> str:
    if isinstance(value, str) and QUEUE_NAME.fullmatch(value):
        return value
    raise bad_option(name, value, "must be 1 to 64 letters, digits, '_', '.' and '-'")


def _start_method(value: Any, name: str) -> str | None:
    if value in (None, "fork", "spawn"):
        return value  # type: ignore[no-any-return]
    raise bad_option(name, value, "must be 'fork', 'spawn', or None for what is safe here")


def _durability(value: Any, name: str) -> str:
    if value in DURABILITIES:
        return str(value)
    raise bad_option(name, value, f"must be one of {', '.join(map(repr, DURABILITIES))}")


def _flag(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    raise bad_option(name, value, "must be True or False")


def _database(value: Any, name: str) -> str:
    if isinstance(value, str) and value:
        return value
    raise bad_option(name, value, "must be the alias of a database, a key of DATABASES")


def _provider(value: Any, name: str) -> str:
    if isinstance(value, str) and ("." in value or value in PROVIDERS):
        return value
    hint = nearest(value, PROVIDERS)
    raise bad_option(name, value, f"must be a provider or the dotted name of one; {hint}")


_SEALING = ("SIGN", "ENCRYPTION_KEYS")

_CHECKS: dict[str, Check] = {
    "URL": check_url,
    "DURABILITY": _durability,
    "REPLICAS": _whole(1, 16),
    "DURABILITY_TIMEOUT": _seconds(0.001, 3_600),
    "ALLOW_EVICTION": _flag,
    "OUTBOX": _flag,
    "MIRROR_DATABASE": _database,
    "MIRROR_RETENTION": as_seconds,
    "MIRROR_KEEP": _whole(0, 1_000_000_000),
    "CONTEXT": lambda value, name: _texts(value, name, _provider),
    "SIGN": check_sign,
    "ENCRYPTION_KEYS": check_keys,
    "PREFIX": _prefix,
    "MAX_PAYLOAD": _whole(1, 512 * 1_048_576),  # Redis holds no longer string
    "CONNECT_TIMEOUT": _seconds(0.001, 3_600),
    "SOCKET_TIMEOUT": _seconds(0.001, 3_600),
    "DEAD_RETENTION": as_seconds,
}
_SECTIONS: dict[str, Callable[[Mapping[Any, Any], str, list[Problem]], Any]] = {
    "TASK_DEFAULTS": _task_defaults,
    "WORKER": _worker,
    "KEEP": _keep,
    "LIMITS": _limits,
}
_LIMIT_CHECKS: dict[str, Check] = {
    "rate_limit": check_rate,
    "concurrency_limit": check_concurrency,
}
_WORKER_CHECKS: dict[str, Check] = {
    "concurrency": _whole(1, 1_000),
    "processes": _whole(1, 256),
    "lease": _seconds(5, 3_600),
    "shutdown_timeout": as_seconds,
    "start_method": _start_method,
}
_KEEP_CHECKS: dict[str, Check] = dict.fromkeys(
    ("succeeded", "dead", "cancelled"), _whole(0, 1_000_000_000)
)
