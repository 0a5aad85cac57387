"""A job made by hand: a form with a field for each parameter of its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import models, registry
from ..compat import InvalidTask
from ..exceptions import ArgumentsDoNotBind, DuplicateJob
from ..result import TaskResult
from ..task import Task
from . import log, rights
from .console import Console
from .fields import JsonField, area
from .row_arguments import ArgumentFields
from .screen import Screen

Made = TypeVar("Made", TaskResult, TaskResult | None)

# What enqueue() refuses; what a project's function for keys raises comes as one of these.
REFUSALS = (ArgumentsDoNotBind, InvalidTask, TypeError, ValueError)

# Of a task whose lock another job had, and which says on_conflict="replace".
REPLACED = gettext_lazy(
    "No new job was made: this one had the lock, and what it was to do before was replaced."
)


class CallForm(forms.Form):
    """What a task is called with, in which queue, and when. ``names``: the fields, in order."""

    args = JsonField(required=False, widget=area(2))
    kwargs = JsonField(required=False, widget=area(2))
    queue_name = forms.ChoiceField(label=gettext_lazy("Queue"))
    priority = forms.IntegerField(
        label=gettext_lazy("Priority"),
        min_value=-100,
        max_value=100,
        help_text=gettext_lazy("From -100 to 100; higher goes first."),
    )
    run_after = forms.DateTimeField(
        label=gettext_lazy("Run at"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}),
    )

    def __init__(self, task: Task, queues: list[str], data: Any = None) -> None:
        initial = {"queue_name": task.queue_name, "priority": task.priority}
        super().__init__(data, initial=initial)
        self.arguments = ArgumentFields(task)
        self.arguments.add_to(self)
        self.call: tuple[list[Any], dict[str, Any]] | None = None
        choices = dict.fromkeys([task.queue_name, *queues])
        self.fields["queue_name"].choices = [(name, name) for name in choices]  # type: ignore[attr-defined]
        zone = timezone.get_current_timezone_name()
        said = _("In the time zone %(zone)s.") % {"zone": zone}
        self.fields["run_after"].help_text = f"{_('Empty: at once.')} {said}"

    @property
    def names(self) -> list[str]:
        """The fields, in order: only those that the task has a parameter for, then ours."""
        return [*self.arguments.names, "queue_name", "priority", "run_after"]

    def shown(self) -> list[forms.BoundField]:
        """The same as a template draws them."""
        return [self[name] for name in self.names]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.call = self.arguments.call(self)
        return cleaned


class Calling(Screen):
    """The part of the task types' screen that enqueues."""

    def can_call(self, request: HttpRequest, console: Console, task: Task | None) -> bool:
        """Whether the user may have a task run, and the backend runs it."""
        if task is None or task.backend != console.alias or registry.is_own(task.module_path):
            return False
        return rights.may(request, rights.CALL)

    def call_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """The form, and the job that it makes. Redis is asked for it alone."""
        rights.demand(request, rights.CALL)
        name = unquote(object_id)
        task = registry.find(name)
        if task is None or not self.can_call(request, console, task):
            raise Http404(_("There is no task of that name."))
        form = CallForm(task, list(console.conf.queues), request.POST or None)
        if request.method == "POST" and form.is_valid() and form.call is not None:
            answer = self._called(request, console, task, form)
            if answer is not None:
                return answer
        about = (task.func.__doc__ or "").strip().partition("\n\n")[0]
        context = {
            "form": form,
            "name": name,
            "about": about,
            "takes": form.arguments.description(),
        }
        title = _("Enqueue %(task)s") % {"task": name}
        return self.page(request, console, "call", context, title=title)

    def _called(
        self, request: HttpRequest, console: Console, task: Task, form: CallForm
    ) -> HttpResponse | None:
        """Enqueues it; None where the form has to be shown again."""
        told = {"task": task.module_path}
        try:
            with log.unsure(request, console, models.Job, [], "call", told):
                made = or_who_has_the_lock(lambda: enqueue(task, console.alias, form))
        except REFUSALS as error:
            form.add_error(None, str(error))
            return None
        if is_kept_out(request, made):
            return self.go(console, "job_change", made.id)
        told |= replacement(made)
        log.note(request, console, models.Job, [(made.id, made.id)], "call", told)
        text = str(REPLACED) if made.replaced else _("The job was enqueued: this is it.")
        messages.success(request, text)
        return self.go(console, "job_change", made.id)


def or_who_has_the_lock(make: Callable[[], Made]) -> Made:
    """What ``make`` enqueues; the job that has the lock also where the task says to raise."""
    try:
        return make()
    except DuplicateJob as error:
        return error.result  # type: ignore[no-any-return]


def is_kept_out(request: HttpRequest, made: TaskResult) -> bool:
    """Whether another job has the lock, and nothing was changed; then the user is told."""
    if not made.duplicate or made.replaced:
        return False
    text = _("Nothing was enqueued: job %(id)s has the lock.") % {"id": made.id}
    messages.warning(request, text)
    return True


def replacement(made: TaskResult) -> dict[str, str]:
    """What the log is told beside the rest where a job that was there was changed."""
    return {"replaced": made.id} if made.replaced else {}


def enqueue(task: Task, alias: str, form: CallForm) -> TaskResult:
    """The job that a form asks for, at once: the page says what became of it. Raises REFUSALS."""
    assert form.call is not None
    args, kwargs = task.signature.load(*form.call)
    said = form.cleaned_data
    varied = task.using(
        backend=alias,
        queue_name=said["queue_name"],
        priority=said["priority"],
        run_after=said["run_after"],
    )
    return varied.get_backend().enqueue_now(varied, args, kwargs)  # type: ignore[no-any-return]
