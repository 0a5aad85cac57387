"""Task types: what this project can run, and how that went."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from django.contrib.admin.utils import unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _

from .. import registry
from ..broker.inspector import Look
from ..broker.releases import releases_in
from ..task import Task
from . import past
from .calling import Calling
from .console import MOST_QUEUES, Console
from .options import Option, option
from .screen import Screen

SHOWN = ("max_attempts", "timeout", "expires_in", "retention", "isolate", "tags")  # options


class TypeRow(NamedTuple):
    """A task with what its jobs came to.

    ``queue``: None where this site does not know the task. The task itself is never handed to a
    template, which calls whatever can be called.
    """

    row: past.TaskRow
    queue: str | None


class TaskTypeAdmin(Calling, Screen):
    """``/admin/django_taskq/tasktype/`` and ``tasktype/NAME/change/``"""

    def get_urls(self) -> list[URLPattern]:
        return [
            *super().get_urls(),
            self.address("<path:object_id>/change/", self.task_page, "change"),
            self.address("<path:object_id>/call/", self.call_page, "call"),
        ]

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Two round trips: the queues' names, what happened."""
        period = past.period_of(request)
        found = console.inspector.tasks(console.queues[:MOST_QUEUES], *period.by_task[:2])
        declared = {task.module_path: task.queue_name for task in declared_for(console)}
        counters = {**{name: Counter() for name in declared}, **found}
        rows = [TypeRow(row, declared.get(row.name)) for row in past.task_rows(counters)]
        context = {"rows": rows, "periods": past.PERIODS, "period": period.name}
        return self.page(request, console, "tasktypes", context)

    def task_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Two round trips: the queues' names, what happened."""
        name = unquote(object_id)
        task = registry.find(name)
        period = past.period_of(request)
        queues = console.queues[:MOST_QUEUES]
        look = Look(*period.look[:2], by_task=True, task=name)
        replies, (releases,) = console.inspector.past(queues, look, console.releases.call())
        steps = look.steps(replies)
        if task is None and not any(step.counters for step in steps):
            raise Http404(_("There is no task of that name."))
        context = {
            **past.context(period, steps, releases_in(releases)),
            "name": name,
            "queue": task.queue_name if task else None,
            "about": (task.func.__doc__ or "").strip().partition("\n\n")[0] if task else "",
            "options": options(task) if task else [],
            "can_call": self.can_call(request, console, task),
        }
        return self.page(request, console, "tasktype", context, title=name)


def declared_for(console: Console) -> list[Task]:
    """The tasks of the backend."""
    return [task for task in registry.declared() if task.backend == console.alias]


def options(task: Task) -> list[Option]:
    """Its options, as they are named in code, without those that it does without."""
    said = [(name, getattr(task.options, name)) for name in SHOWN]
    return [option(name, value, "task") for name, value in said if value not in (None, False, ())]
