"""name -> Task: the only way from a name in Redis to a function.

Tasks enter when their module is imported. A name that is not in here is unknown, whatever it
spells; nothing is ever imported because Redis says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exceptions import InvalidOption

if TYPE_CHECKING:
    from .task import Task

# Of the jobs that do one thing to many. Whoever may retry jobs, or write schedules, may not do all
# that these were allowed: they are never run again by hand, nor by the clock, nor given other
# arguments.
OWN_TASK = "django_taskq.tasks.bulk"
OWN_TASKS = (OWN_TASK, "django_taskq.mirror.tasks.prune")

_tasks: dict[str, Task] = {}
_elsewhere: dict[str, str] = {}  # name -> a queue that using() sent it to, for the checks


def add(task: Task) -> None:
    """Registers a declared task under its name and aliases.

    Variations made by ``using()`` have the declared task's function and change nothing. Raises
    InvalidOption when an alias is another task's name.
    """
    known = _tasks.get(task.module_path)
    if known is not None and known.func is task.func:
        return
    if known is not None and known.module_path != task.module_path:
        raise InvalidOption(f"{task.module_path} is an alias of the task {known.module_path}")
    for alias in task.options.aliases:
        other = _tasks.get(alias)
        if other is not None and other.module_path != task.module_path:
            raise InvalidOption(
                f"aliases={task.options.aliases!r}: {alias!r} already names {other.module_path}"
            )
    for name in (task.module_path, *task.options.aliases):
        _tasks[name] = task


def find(name: str) -> Task | None:
    """The task of that name or alias, or None."""
    return _tasks.get(name)


def is_own(name: str) -> bool:
    """Whether a task is ours, for the admin alone."""
    return name in OWN_TASKS


def declared() -> list[Task]:
    """Every task, once."""
    return sorted({id(task): task for task in _tasks.values()}.values(), key=_path)


def _path(task: Task) -> str:
    return str(task.module_path)


def note_queue(name: str, queue: str) -> None:
    """A variation of a task goes to another queue than the task itself."""
    _elsewhere.setdefault(name, queue)


def noted_queue(name: str) -> str | None:
    """Such a queue, if there was one so far."""
    return _elsewhere.get(name)


def names() -> list[str]:
    """Every name and alias known here."""
    return sorted(_tasks)
