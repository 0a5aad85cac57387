"""The task: a declared function with what its jobs need, on top of Django's own Task."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any, Final, overload

from django.conf import settings
from django.utils.module_loading import autodiscover_modules

from . import compat, registry
from .asks import ASKING, Asks, asks_for
from .codec import EVERYTHING, Signature
from .compat import (
    DEFAULT_TASK_BACKEND_ALIAS,
    DEFAULT_TASK_PRIORITY,
    DEFAULT_TASK_QUEUE_NAME,
    InvalidTask,
)
from .exceptions import InvalidOption
from .job import OWN_ID_LENGTH
from .options import TaskOptions, clean, portable, restore
from .result import TaskResult
from .retry import RetryPolicy, as_seconds
from .spelling import nearest


class _Inherit:
    """The value of an option nobody set: the backend's TASK_DEFAULTS decide."""

    def __repr__(self) -> str:
        return "INHERIT"

    def __reduce__(self) -> str:
        return "INHERIT"

    def __deepcopy__(self, memo: Any) -> _Inherit:
        return self

    __copy__ = __deepcopy__


INHERIT: Final[Any] = _Inherit()

DJANGO_OPTIONS = ("priority", "queue_name", "backend", "takes_context")
OPTIONS = TaskOptions.NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(compat.Task):  # type: ignore[misc]
    """A function that runs in the background.

    The options are explained in docs/tasks.md. Raises InvalidTask or InvalidOption (a ValueError)
    at import and at ``using()`` when one of them cannot work.
    """

    # Django's own, again: 6.0 gives them no defaults.
    priority: int = DEFAULT_TASK_PRIORITY
    backend: str = DEFAULT_TASK_BACKEND_ALIAS
    queue_name: str = DEFAULT_TASK_QUEUE_NAME
    run_after: datetime | None = None
    takes_context: bool = False

    max_attempts: int | None = INHERIT
    backoff: Any = INHERIT
    retry_on: tuple[Any, ...] = INHERIT
    give_up_on: tuple[Any, ...] = INHERIT
    timeout: float | None = INHERIT
    expires_in: float | None = INHERIT
    retention: float | None = INHERIT
    aliases: tuple[str, ...] = INHERIT
    tags: tuple[str, ...] = INHERIT
    sensitive: tuple[str, ...] = INHERIT
    on_commit: bool | str = INHERIT
    isolate: bool = INHERIT
    unique: Any = INHERIT
    rate_limit: Any = INHERIT
    concurrency_limit: int | None = INHERIT
    limit_key: Any = INHERIT
    fair_by: Any = INHERIT
    fair_weights: Any = INHERIT

    # Set by using() alone.
    job_id: str | None = None
    delay: float | None = None  # seconds from the enqueue on; run_after is for a point in time

    # Worked out once, here, because every job needs them.
    options: TaskOptions = field(init=False, repr=False, compare=False)
    policy: RetryPolicy = field(init=False, repr=False, compare=False)
    signature: Signature = field(init=False, repr=False, compare=False)
    asks: Asks | None = field(init=False, repr=False, compare=False)
    overrides: dict[str, Any] = field(init=False, repr=False, compare=False)
    is_async: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Zero-argument super() does not work in a dataclass with slots.
        compat.Task.__post_init__(self)
        for name, value in clean(own_options(self)).items():
            object.__setattr__(self, name, value)
        if self.job_id is not None:
            check_id(self.job_id)
        self._work_out(inherited_options(self))
        registry.add(self)
        self._compare()

    def _compare(self) -> None:
        """Notes in what this variation differs from the task as it was declared."""
        declared = registry.find(self.module_path)
        if declared is not None and declared is not self:
            own = own_options(self)
            changed = {n: v for n, v in own.items() if getattr(declared, n) != v}
            object.__setattr__(self, "overrides", portable(changed))
            if self.asks is not None and self.queue_name != declared.queue_name:
                registry.note_queue(self.module_path, self.queue_name)

    def _work_out(self, options: TaskOptions) -> None:
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "policy", policy_of(options))
        object.__setattr__(
            self, "signature", signature_of(self.func, self.takes_context, options.sensitive)
        )
        object.__setattr__(self, "asks", self._asks(options))
        object.__setattr__(self, "overrides", {})
        object.__setattr__(self, "is_async", iscoroutinefunction(self.func))

    def _asks(self, options: TaskOptions) -> Asks | None:
        """Those of the declared task where nothing they are made of was changed."""
        declared = registry.find(self.module_path)
        if declared is not None and declared.signature is self.signature:
            before = declared.options
            if all(getattr(options, name) == getattr(before, name) for name in ASKING):
                return declared.asks
        own = own_options(self)
        return asks_for(self.module_path, options, self.signature, own, secret)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A plain call of the function, here and now."""
        return self.func(*args, **kwargs)

    def __reduce__(self) -> Any:
        declared = registry.find(self.module_path)
        changed = {}
        for f in fields(self):
            value = getattr(self, f.name)
            # An option that is the declared task's comes back with it: it may be a lambda.
            known = f.name in OPTIONS and getattr(declared, f.name, INHERIT) is value
            if f.init and f.name != "func" and value is not INHERIT and not known:
                changed[f.name] = value
        return (_reconstruct, (self.module_path, changed))

    def __deepcopy__(self, memo: Any) -> Task:
        return self  # nothing in it can change

    def using(self, **options: Any) -> Task:
        """A variation of this task, to enqueue with other options.

        Takes every option of ``@task`` but ``sensitive``, and also ``run_after`` (a datetime, or a
        timedelta or seconds counted from the enqueue on) and ``id`` (the job's own; a second job
        under an id that exists is not made). ``None`` for Django's own options keeps what there is.
        """
        changes = {}
        for name, value in options.items():
            if name in OPTIONS and name != "sensitive":
                changes[name] = value
            elif name in DJANGO_OPTIONS:
                if value is not None:
                    changes[name] = value
            elif name == "run_after":
                changes.update(_when(value))
            elif name == "id":
                changes["job_id"] = value
            else:
                valid = {*DJANGO_OPTIONS, *OPTIONS, "run_after", "id"} - {"sensitive"}
                raise TypeError(f"using() knows no option {name!r}: {nearest(name, valid)}")
        return replace(self, **changes)

    def enqueue_many(self, calls: Iterable[Any]) -> list[TaskResult]:
        """Enqueues one job per item: a tuple or list of arguments, or a dict of keyword arguments.

        One round trip per 500 jobs. Returns the results in order; raises as ``enqueue()`` does,
        before anything is sent when an item is at fault.
        """
        return self.get_backend().enqueue_many(self, calls)  # type: ignore[no-any-return]

    def enqueue_on_commit(self, *args: Any, **kwargs: Any) -> TaskResult:
        """As ``enqueue()``, at the open transaction's commit whatever ``on_commit`` says."""
        return self.get_backend().enqueue_on_commit(self, args, kwargs)  # type: ignore[no-any-return]

    async def aenqueue_on_commit(self, *args: Any, **kwargs: Any) -> TaskResult:
        """As ``enqueue_on_commit()``, from async code; asks the connections of the sync thread."""
        backend = self.get_backend()
        return await backend.aenqueue_on_commit(self, args, kwargs)  # type: ignore[no-any-return]


def _when(value: Any) -> dict[str, Any]:
    """run_after as the two fields that hold it."""
    if value is None or isinstance(value, datetime):
        return {"run_after": value, "delay": None}
    return {"run_after": None, "delay": as_seconds(value, "run_after")}


# With the queue's number behind it when it is a job's whole id, as in error.result.id.
_ID = re.compile(rf"[!-~]{{1,{OWN_ID_LENGTH}}}(\.\d{{1,8}})?")


def check_id(id: str) -> None:
    """Raises InvalidOption for what cannot be a job's id."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise InvalidOption(
            f"id={id!r}: must be 1 to {OWN_ID_LENGTH} printable ASCII characters, no spaces"
        )


def own_options(task: Task) -> dict[str, Any]:
    """The options that the task itself sets."""
    values = ((name, getattr(task, name)) for name in OPTIONS)
    return {name: value for name, value in values if value is not INHERIT}


def inherited_options(task: Task) -> TaskOptions:
    """The task's options upon the TASK_DEFAULTS of the backend it goes to."""
    defaults = getattr(task.get_backend(), "task_defaults", TaskOptions())
    return replace(defaults, **own_options(task))


def secret() -> str:
    """What keeps the digests of arguments from being guessed."""
    return str(getattr(settings, "SECRET_KEY", "") or "")


def policy_of(options: TaskOptions) -> RetryPolicy:
    """The retry policy in a task's options."""
    return RetryPolicy(
        max_attempts=options.max_attempts,
        backoff=options.backoff,
        retry_on=options.retry_on,
        give_up_on=options.give_up_on,
    )


@lru_cache(maxsize=4096)  # bounded: each reading of an unknown task's result has a new function
def signature_of(
    func: Callable[..., Any], takes_context: bool, sensitive: tuple[str, ...] = ()
) -> Signature:
    """The function's Signature, built once: ``using()`` makes many tasks of one function."""
    return Signature(func, takes_context, sensitive)


def _reconstruct(path: str, changes: Mapping[str, Any]) -> Task:
    """A pickled task back: its function is found by the registry, never imported by name.

    Not validated, since settings may have moved on.
    """
    task = look_up(path)
    if task is None:
        raise ValueError(f"no task {path!r} is known here")
    copy = _copy_of(task, changes)
    copy._work_out(inherited_options(copy))
    copy._compare()
    return copy


def _copy_of(task: Any, changes: Mapping[str, Any]) -> Task:
    """A copy with other values in some fields. What is worked out of them is not."""
    copy = object.__new__(Task)
    for f in fields(Task):
        value = changes[f.name] if f.name in changes else getattr(task, f.name, f.default)
        object.__setattr__(copy, f.name, value)
    return copy


def variation(task: Task, overrides: Mapping[str, Any], **changes: Any) -> Task:
    """A task as an envelope describes it: not validated, since settings may have moved on.

    ``overrides`` is an envelope's ``o``; ``changes`` are fields.
    """
    for name, value in changes.items():
        if getattr(task, name) != value:
            break
    else:
        if not overrides:
            return task
    options = restore(overrides)
    copy = _copy_of(task, {**options, **changes})
    if copy.backend != task.backend:
        copy._work_out(inherited_options(copy))
    elif options:
        copy._work_out(replace(task.options, **options))
    if options:
        object.__setattr__(copy, "overrides", dict(overrides))
    return copy


def adopt(task: compat.Task) -> Task:
    """One of Django's own tasks as ours, with the defaults for everything it has no word for."""
    if isinstance(task, Task):
        return task
    copy = _copy_of(task, {})
    copy._work_out(inherited_options(copy))
    registry.add(copy)
    return copy


_discovered = False


def discover() -> None:
    """Imports the ``tasks`` module of every installed app; errors in them are raised.

    Tasks that ``django.tasks.task`` declared there for another backend's class are taken in too.
    """
    global _discovered
    autodiscover_modules("tasks")
    _discovered = True
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").rpartition(".")[2] == "tasks":
            for value in list(vars(module).values()):
                if isinstance(value, compat.Task) and not isinstance(value, Task):
                    adopt(value)


def discover_once() -> None:
    """``discover()``, if nobody did in this process."""
    if not _discovered:
        discover()


def look_up(name: str) -> Task | None:
    """The task of that name, after ``discover()`` if need be; None when nothing has the name."""
    found = registry.find(name)
    if found is None:
        discover_once()
        found = registry.find(name)
    return found


def unknown_task(name: str) -> Task:
    """What stands for a task that this process does not know, in a result that is read."""

    def missing(*args: Any, **kwargs: Any) -> None:
        raise InvalidTask(f"the task {name!r} is not known here")

    module, _, qualname = name.rpartition(".")
    missing.__module__, missing.__qualname__, missing.__name__ = module, qualname, qualname
    copy = _copy_of(None, {"func": missing})
    copy._work_out(TaskOptions())
    copy.signature.sensitive = EVERYTHING  # nobody here can say what may be shown
    return copy


@overload
def task(function: Callable[..., Any], /) -> Task: ...
@overload
def task(**options: Any) -> Callable[[Callable[..., Any]], Task]: ...
def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Declares a task: ``@task`` or ``@task(queue_name="low", max_attempts=3, ...)``.

    Takes Django's options (queue_name, priority, backend, takes_context) and those of
    docs/tasks.md. Raises TypeError for an unknown option, InvalidTask or InvalidOption for a
    value that cannot work.
    """
    valid = (*DJANGO_OPTIONS, *OPTIONS)
    for name in options:
        if name == "run_after":
            raise TypeError("run_after belongs to one enqueue: use .using(run_after=...)")
        if name not in valid:
            raise TypeError(f"@task knows no option {name!r}: {nearest(name, valid)}")

    def declare(func: Callable[..., Any]) -> Task:
        return Task(func=func, **options)

    return declare if function is None else declare(function)
