"""Schedules of tasks: declared in code with ``@periodic``, or described by some other source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
from django.utils import timezone

from . import compat, registry
from .exceptions import InvalidOption
from .retry import bad_option
from .schedule import Schedule, check_name
from .spelling import nearest
from .task import DJANGO_OPTIONS, OPTIONS, Task, adopt, look_up, task

OWN = ("tz", "overlap", "catch_up", "jitter", "start", "end", "enabled", "name", "args", "kwargs")


@dataclass(frozen=True, slots=True)
class Periodic:
    """A task with a schedule. ``source``: who declared it."""

    name: str
    task: Task
    schedule: Schedule
    args: Sequence[Any] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    source: str = "code"

    @property
    def queue(self) -> str:
        return str(self.task.queue_name)


# -- in code ---------------------------------------------------------------------------------------

_declared: dict[str, Periodic] = {}


def periodic(
    expression: str | timedelta,
    /,
    *,
    tz: str | None = None,
    overlap: str = "skip",
    catch_up: str = "one",
    jitter: float | timedelta = 0,
    start: datetime | None = None,
    end: datetime | None = None,
    enabled: bool = True,
    name: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Callable[[Any], Task]:
    """Runs a task by the clock: ``@periodic("*/30 * * * *", tz="Europe/Berlin")``.

    Stands above a function, which becomes a task, or above ``@task``; several may stand above one
    another, each but one with a ``name``. ``options`` are those of ``@task``, for the jobs of this
    schedule. Everything is explained in docs/schedules.md. Raises InvalidOption or TypeError at
    import for what cannot work.
    """
    for option in options:
        if option not in (*DJANGO_OPTIONS, *OPTIONS):
            hint = nearest(option, (*OWN, *DJANGO_OPTIONS, *OPTIONS))
            raise TypeError(f"@periodic knows no option {option!r}: {hint}")
    zone = timezone.get_default_timezone_name() if tz is None else tz
    when = Schedule(expression, zone, overlap, catch_up, jitter, start, end, enabled)

    def declare(what: Any) -> Task:
        declared, scheduled = _declared_task(what, options)
        values = check_arguments(scheduled, args, {} if kwargs is None else kwargs)
        own = check_name(scheduled.module_path if name is None else name)
        _add(Periodic(own, scheduled, when, *values))
        return declared

    return declare


def _declared_task(what: Any, options: Mapping[str, Any]) -> tuple[Task, Task]:
    """The task that was declared, and with the options of a schedule."""
    if not isinstance(what, compat.Task):
        made = task(**options)(what)
        return made, made
    declared = adopt(what)
    return declared, declared.using(**options) if options else declared


def check_arguments(
    of: Task, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, if the task can be called with them. Raises InvalidOption."""
    if not isinstance(args, list | tuple):
        raise InvalidOption(f"args: must be a tuple or list, not {type(args).__name__}")
    if not isinstance(kwargs, Mapping):
        raise InvalidOption(f"kwargs: must be a dict, not {type(kwargs).__name__}")
    try:
        of.signature.dump(args, kwargs)
    except TypeError as error:  # InvalidArgument: it may not quote what is sensitive
        raise InvalidOption(f"args, kwargs: {error}") from None
    return tuple(args), dict(kwargs)


def _add(made: Periodic) -> None:
    known = _declared.get(made.name)
    if known is not None and known.task.func is not made.task.func:
        # A module that is imported again brings its functions anew.
        if known.task.module_path != made.task.module_path:
            raise bad_option("name", made.name, f"is a schedule of {known.task.module_path}")
    elif known is not None:
        must = f"{made.task.module_path} has a schedule of that name: give this one another"
        raise bad_option("name", made.name, must)
    _declared[made.name] = made


def declared() -> list[Periodic]:
    """Every schedule in code."""
    return list(_declared.values())


def in_code(name: str) -> Periodic | None:
    """The schedule of that name in code, if there is one."""
    return _declared.get(name)


# -- from other sources ----------------------------------------------------------------------------


class Declaration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A schedule as a source describes it: JSON, with nothing in it that was checked.

    ``options``: what its jobs have otherwise than the task says.
    """

    name: str
    task: str
    expression: str
    tz: str | None = None
    overlap: str = "skip"
    catch_up: str = "one"
    jitter: float = 0.0
    start: datetime | None = None
    end: datetime | None = None
    enabled: bool = True
    args: Any = []
    kwargs: Any = {}
    options: dict[str, Any] = {}
    source: str = ""

    def __repr__(self) -> str:
        """Without the arguments: this lands in logs."""
        return f"Declaration({self.name!r}, {self.task!r}, {self.expression!r})"


class Source(Protocol):
    """Where schedules come from that are not in code. Its methods may wait, and may raise."""

    def version(self) -> Any:
        """Something cheap that differs after every change."""

    def load(self) -> list[Declaration]:
        """All schedules, those that are switched off too: they stand before code's."""


_sources: list[Source] = []


def add_source(source: Source) -> None:
    """Has every worker look at a source; for an app's ``ready()``."""
    if source not in _sources:
        _sources.append(source)


def sources() -> list[Source]:
    """Every source that was added."""
    return list(_sources)


def resolve(given: Declaration) -> Periodic:
    """A schedule from its description. Raises InvalidOption, whatever is wrong with it."""
    mine = task_of(given)
    when = schedule_of(given)
    return Periodic(check_name(given.name), mine, when, *call_of(given, mine), given.source)


def task_of(given: Declaration) -> Task:
    """The task that a description names, with its options. Raises InvalidOption.

    One that stands before a schedule in code has the options that are said there.
    """
    found = look_up(given.task)
    if found is None:
        hint = nearest(given.task, registry.names())
        raise bad_option("task", given.task, f"is not known here; {hint}")
    if registry.is_own(found.module_path):
        raise bad_option("task", given.task, "is for the admin alone to enqueue")
    made = in_code(given.name)
    if made is not None and made.task.module_path == found.module_path:
        found = made.task
    try:
        return found.using(**given.options) if given.options else found
    except InvalidOption:
        raise
    except Exception as error:  # Django's own words
        raise InvalidOption(str(error)) from None


def schedule_of(given: Declaration) -> Schedule:
    """When a description is due. Raises InvalidOption."""
    return Schedule(
        given.expression,
        given.tz or timezone.get_default_timezone_name(),
        given.overlap,
        given.catch_up,
        given.jitter,
        given.start,
        given.end,
        given.enabled,
    )


def call_of(given: Declaration, mine: Task) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a description, as the task's annotations name them."""
    args, kwargs = given.args, given.kwargs
    if isinstance(args, list) and isinstance(kwargs, dict):
        try:
            args, kwargs = mine.signature.load(args, kwargs)
        except Exception as error:
            raise InvalidOption(f"args, kwargs: {error}") from None
    return check_arguments(mine, args, kwargs)


def by_name(rows: Iterable[Declaration]) -> dict[str, Periodic | Declaration]:
    """All schedules by their names. What a source says stands before what code says."""
    found: dict[str, Periodic | Declaration] = {made.name: made for made in declared()}
    found.update((row.name, row) for row in rows)
    return found


def gather(rows: Iterable[Declaration]) -> tuple[list[Periodic], dict[str, str]]:
    """All schedules, and what is wrong with the others by their names.

    What a source says under a name stands before what code says, whether it can be used or not.
    """
    return resolved(by_name(rows).values())


def resolved(given: Iterable[Periodic | Declaration]) -> tuple[list[Periodic], dict[str, str]]:
    """Schedules, and what is wrong with those that cannot be run, by their names."""
    found: list[Periodic] = []
    problems = {}
    for each in given:
        try:
            found.append(each if isinstance(each, Periodic) else resolve(each))
        except InvalidOption as error:
            problems[each.name] = str(error)
    return found, problems
