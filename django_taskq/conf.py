"""The settings of a backend: what TASKS may say, and what is wrong with it.

Layer 1: pure, no I/O. Times are seconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .address import check_url
from .exceptions import InvalidOption
from .keyring import check_keys, check_sign
from .limits import Limit, check_concurrency, check_rate
from .options import DAY, DEFAULTS, Check, TaskOptions, check_flag, check_texts
from .retry import as_seconds, bad_option
from .spelling import nearest

MAX_RELEASE_LENGTH = 100
RELEASE_VARIABLE = "TASKQ_RELEASE"  # of the environment, where OPTIONS do not say it
DURABILITIES = ("fast", "replicated", "local")
PROVIDERS = ("language", "timezone", "tenant", "user", "request", "trace")  # see context/

QUEUE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


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
    release: str = ""  # of the project; "": nobody said
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
        raw = {"RELEASE": release_around(), **raw}
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
    return replace(TaskOptions(), **_checked(raw, where, DEFAULTS, problems))


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


def _database(value: Any, name: str) -> str:
    if isinstance(value, str) and value:
        return value
    raise bad_option(name, value, "must be the alias of a database, a key of DATABASES")


def _release(value: Any, name: str) -> str:
    said = value.strip() if isinstance(value, str) else value
    if said is None:
        return ""
    if not isinstance(said, str) or len(said) > MAX_RELEASE_LENGTH or not said.isprintable():
        must = f"must be one line of at most {MAX_RELEASE_LENGTH} characters, such as '2.4.1'"
        raise bad_option(name, value, must)
    return said


def release_around() -> str:
    """What the environment says, made to fit: what a deploy sets there must stop no command."""
    said = os.environ.get(RELEASE_VARIABLE, "").strip().partition("\n")[0]
    return "".join(filter(str.isprintable, said))[:MAX_RELEASE_LENGTH].strip()


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
    "ALLOW_EVICTION": check_flag,
    "RELEASE": _release,
    "OUTBOX": check_flag,
    "MIRROR_DATABASE": _database,
    "MIRROR_RETENTION": as_seconds,
    "MIRROR_KEEP": _whole(0, 1_000_000_000),
    "CONTEXT": lambda value, name: check_texts(value, name, _provider),
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
