"""What all backends share: the task class, the options, their checks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Any

from django.core.checks import CheckMessage, Error

from .. import compat, registry
from ..compat import BaseTaskBackend, InvalidTask
from ..conf import QUEUE_NAME, Options, Problem
from ..context.carrier import carrier_for
from ..result import TaskResult
from ..signals import ENQUEUED
from ..task import Task, adopt


@lru_cache(maxsize=4096)  # asked at every enqueue
def check_function(func: Any) -> None:
    """Raises InvalidTask for a function that Django lets pass and that cannot be a task."""
    name = getattr(func, "__qualname__", "")
    if "<lambda>" in name:
        raise InvalidTask("a lambda cannot be a task: declare a function at a module's level")
    if "." in name and "<locals>" not in name:  # Django says the rest
        raise InvalidTask(f"{name} is a method: a task is a function at a module's level")
    if isgeneratorfunction(func) or isasyncgenfunction(func):
        raise InvalidTask(f"{name} is a generator: nobody would take what it yields")


class TaskqBackend(BaseTaskBackend):  # type: ignore[misc]
    """Base of the three backends."""

    task_class = Task
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.conf = Options.parse(alias, params)
        self.queues = set(self.conf.queues)
        self.task_defaults = self.conf.task_defaults
        self.carrier = carrier_for(self.conf.context)
        self._valid: dict[int, Task] = {}  # declared tasks that were validated here

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """What is wrong in this alias's settings. Opens no connection."""
        return [
            Error(f"TASKS[{self.alias!r}]: {p.message}", hint=p.hint, obj=None, id="taskq.E001")
            for p in (*self.conf.problems, *self._problems())
        ]

    def _problems(self) -> list[Problem]:
        """What the settings themselves do not show."""
        problem = self.carrier.problem()
        return [Problem(problem, "No job can be enqueued until then.")] if problem else []

    def validate_task(self, task: compat.Task) -> None:
        """Raises InvalidTask for a task that this backend cannot take."""
        check_function(task.func)
        if not isinstance(task.priority, int | float):
            raise InvalidTask(f"priority={task.priority!r}: must be a whole number")
        super().validate_task(task)
        if not self.queues and not QUEUE_NAME.fullmatch(str(task.queue_name)):
            raise InvalidTask(
                f"queue_name={task.queue_name!r}: use 1 to 64 letters, digits, '_', '.' and '-'"
            )

    def _mine(self, task: compat.Task) -> Task:
        """The task as ours, if this backend may run it. Raises InvalidTask.

        A Task of ours was validated when it was made; only the settings may have changed since,
        and then this is another backend object.
        """
        if self._valid.get(id(task)) is not task:
            self.validate_task(task)
            if isinstance(task, Task) and registry.find(task.module_path) is task:
                self._valid[id(task)] = task
        return task if isinstance(task, Task) else adopt(task)

    def _pushed(self, results: Sequence[TaskResult]) -> None:
        if ENQUEUED.is_heard:
            for result in results:
                ENQUEUED.signal.send(sender=type(self), task_result=result)
