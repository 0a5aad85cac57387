"""System checks that belong to the app; each backend's own are in its ``check()``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from string import Formatter
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register
from django.core.management import get_commands

from . import registry
from .asks import limit_name, limit_of
from .task import Task, discover

OURS = "django_taskq"


@register
def check_task_modules(**kwargs: Any) -> list[CheckMessage]:
    """Whether every app's ``tasks`` module can be imported, as a worker will."""
    try:
        discover()
    except Exception as error:
        return [
            Error(
                f"A tasks module cannot be imported: {type(error).__name__}: {error}",
                hint="A worker would not start: mend it, or run `python -c 'import ...'` to see "
                "the whole traceback.",
                id="taskq.E002",
            )
        ]
    return []


UNRELATED = "django-taskq"  # a distribution; ours is django-taskq-redis


@register
def check_names(**kwargs: Any) -> list[CheckMessage]:
    """Whether another package's names stand before ours."""
    found: list[CheckMessage] = []
    owner = get_commands().get("runworker")
    if owner is not None and owner != OURS and getattr(owner, "name", owner) != OURS:
        found.append(
            Warning(
                f"`manage.py runworker` is the command of {owner}, not of django_taskq.",
                hint="Use `manage.py taskq worker`, or put django_taskq before it in "
                "INSTALLED_APPS.",
                id="taskq.W001",
            )
        )
    if is_installed(UNRELATED):
        found.append(
            Warning(
                f"{UNRELATED} installs a package named django_taskq too.",
                hint="One of the two hides the other: uninstall it.",
                id="taskq.W002",
            )
        )
    return found


def is_installed(name: str) -> bool:
    """Whether there is a distribution of that name; a look at all of them takes half a second."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


# -- locks and limits, which hold within one queue -------------------------------------------------


@register
def check_limits(**kwargs: Any) -> list[CheckMessage]:
    """Whether tasks that share a lock or a limit meet in one queue, and say the same numbers."""
    try:
        discover()
    except Exception:
        return []  # check_task_modules() says so
    tasks = [task for task in registry.declared() if task.asks is not None]
    return [*scattered(tasks), *strayed(tasks), *contradictions(tasks), *namesakes(tasks)]


def scattered(tasks: list[Task]) -> Iterator[CheckMessage]:
    """Tasks of different queues with one key."""
    first: dict[Any, Task] = {}
    for task in tasks:
        for option, key in shared_keys(task):
            other = first.setdefault((option, key), task)
            if place_of(other) != place_of(task):
                yield Warning(
                    f"{other.module_path} and {task.module_path} share {option}={key!r} and go to "
                    f"the queues {other.queue_name!r} and {task.queue_name!r}: each queue counts "
                    "by itself.",
                    hint="Give the tasks one queue_name, or each a key of its own.",
                    id="taskq.W010",
                )


def strayed(tasks: list[Task]) -> Iterator[CheckMessage]:
    """Tasks of which using() made a variation for another queue, as far as that was seen."""
    for task in tasks:
        queue = registry.noted_queue(task.module_path)
        if queue is not None and (task.options.unique or limit_of(task.options)):
            yield Warning(
                f"{task.module_path} has a lock or a limit, goes to the queue "
                f"{task.queue_name!r}, and with using() to {queue!r} too: each queue counts by "
                "itself.",
                hint="Use one queue; a higher priority brings a job forward within it.",
                id="taskq.W010",
            )


def contradictions(tasks: list[Task]) -> Iterator[CheckMessage]:
    """Tasks with one limit_key that name different numbers for it."""
    first: dict[Any, Task] = {}
    for task in tasks:
        if task.options.limit_key is None or not limit_of(task.options):
            continue
        name = limit_name(task.options.limit_key, task.module_path)
        other = first.setdefault((place_of(task), name), task)
        if limit_of(other.options) != limit_of(task.options):
            yield Warning(
                f"{other.module_path} and {task.module_path} share "
                f"limit_key={task.options.limit_key!r} and name different limits for it.",
                hint="The job that was enqueued last decides for all: name the same limits.",
                id="taskq.W011",
            )


def namesakes(tasks: list[Task]) -> Iterator[CheckMessage]:
    """Tasks whose limits are two by name and have the same keys: one parameter, called two ways."""
    first: dict[Any, Task] = {}
    for task in tasks:
        key = task.options.limit_key
        if not isinstance(key, str) or not limit_of(task.options):
            continue
        other = first.setdefault((place_of(task), shape_of(key)), task)
        if other.options.limit_key != key:
            yield Warning(
                f"limit_key={other.options.limit_key!r} of {other.module_path} and {key!r} of "
                f"{task.module_path} are two limits that make the same keys.",
                hint="For such a key the numbers of the one or of the other count, those by hand, "
                "too: give the parameters one name, or each limit_key a text of its own.",
                id="taskq.W011",
            )


def shape_of(template: str) -> str:
    """A format string with a NUL, which none has itself, in the place of each field."""
    parts = Formatter().parse(template)
    return "".join(text if field is None else f"{text}\0" for text, field, _, _ in parts)


def shared_keys(task: Task) -> Iterator[tuple[str, Any]]:
    """The keys of a task that another may have too."""
    options = task.options
    if options.limit_key is not None and limit_of(options):
        yield "limit_key", options.limit_key
    if options.unique is not None and options.unique.key is not None:
        yield "Unique(key)", options.unique.key


def place_of(task: Task) -> tuple[str, str]:
    """Within what its locks and limits hold."""
    return task.backend, task.queue_name
