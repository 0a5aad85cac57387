"""Other arguments for a job: a form made from what it carries, checked by the task's signature."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import models
from ..codec import HIDDEN, OPEN, Seals, redact
from ..exceptions import (
    ArgumentsDoNotBind,
    InvalidArgument,
    InvalidOption,
    KeyMissing,
    MalformedJob,
    PayloadTooLarge,
)
from ..job import Envelope, State
from ..operations import Changes, Params
from ..registry import is_own
from ..showing import task_in
from ..task import look_up
from . import acting, log, rights
from .console import Console
from .detail import Detail
from .fields import JSON, MISSING, Kind, area, argument_field, kind_of, read, shown, stays
from .screen import Screen

MORE = "more"
REFUSALS = {
    "R": gettext_lazy("The job is running now: nothing was changed."),
    "C": gettext_lazy("Somebody changed the job meanwhile: look at it again."),
    "U": gettext_lazy("The job is not there any more."),
}


class ArgumentsForm(forms.Form):
    """A field per argument. What is sensitive is not shown; left empty, it stays."""

    def __init__(self, envelope: Envelope, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.envelope = envelope
        task = task_in(envelope)
        named = task.signature.labelled(*redact(task, envelope.a, envelope.k))
        hints = task.signature.hints_of(envelope.a, envelope.k)
        self.names = [name for name, _value in named]
        self.kinds = [
            kind_of(hint, MISSING if value == HIDDEN else value)
            for hint, (_name, value) in zip(hints, named, strict=True)
        ]
        for at, (name, value) in enumerate(named):
            self.fields[f"arg-{at}"] = self._field(at, name, value)
        self.fields[MORE] = forms.CharField(
            label=_("Further keyword arguments"),
            help_text=_('A JSON object, such as {"name": "value"}.'),
            required=False,
            widget=area(2),
        )

    def _field(self, at: int, name: str, value: Any) -> forms.CharField:
        kind, is_named = self.kinds[at], at >= len(self.envelope.a)
        if value == HIDDEN:
            return argument_field(kind, name, "", stays(), required=False)
        said = [str(kind.said)]
        if is_named:
            said.append(_("Leave it empty to leave the argument out."))
        text = shown(kind, value)
        return argument_field(kind, name, text, " ".join(said), required=not is_named)

    def clean(self) -> dict[str, Any]:
        """What the texts say, and of all of it what is another than before."""
        cleaned = super().clean() or {}
        positional: dict[int, Any] = {}
        named: dict[str, Any] = {}
        removed: list[str] = []
        for at, name in enumerate(self.names):
            key = f"arg-{at}"
            if key not in cleaned or key not in self.data or self.fields[key].disabled:
                continue
            text = cleaned[key]
            is_positional = at < len(self.envelope.a)
            if not text.strip():
                if not is_positional and self.fields[key].initial:
                    removed.append(name)
            elif key in self.changed_data:
                value = self._read(key, self.kinds[at], text)
                if is_positional:
                    positional[at] = value
                else:
                    named[name] = value
        more = self._read(MORE, JSON, cleaned.get(MORE) or "{}")
        if isinstance(more, dict):
            named |= more
        elif more is not None:
            self.add_error(MORE, _("This is no JSON object."))
        self.changes = Changes(positional, named, removed)
        return cleaned

    def _read(self, key: str, kind: Kind, text: str) -> Any:
        try:
            return read(kind, text)
        except ValueError as error:
            self.add_error(key, str(error))
            return None


class Editing(Screen):
    """The part of the jobs' screen that edits arguments."""

    def can_edit(self, request: HttpRequest, job: Detail) -> bool:
        """Whether the user may change the arguments of a job, and anybody can."""
        allowed = rights.may(request, rights.EDIT_ARGS) and rights.may(request, rights.VIEW_ARGS)
        can_be = job.is_known and job.state is not State.RUNNING and not is_own(job.task)
        return allowed and can_be

    def edit_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """The form, and what it changes; it can retry the job at once."""
        rights.demand(request, rights.VIEW_ARGS, rights.EDIT_ARGS)
        id = unquote(object_id)
        queue = console.queue_of(id)
        stored = console.broker.fetch(queue, [id])[0] if queue else None
        if queue is None or stored is None or stored.state is None:
            messages.error(request, str(REFUSALS["U"]))
            return self.go(console, "job_changelist")
        envelope = readable(id, stored.envelope, console.broker.seals)
        if envelope is None or look_up(envelope.t) is None or is_own(envelope.t):
            messages.error(request, _("The arguments of this job cannot be changed here."))
            return self.go(console, "job_change", id)
        form = ArgumentsForm(envelope, request.POST or None)
        if request.method == "POST" and form.is_valid():
            answer = self._edited(request, console, queue, id, form)
            if answer is not None:
                return answer
        can_retry = "retry" in acting.possible(request, stored.state)
        context = {"form": form, "id": id, "task": envelope.t, "can_retry": can_retry}
        return self.page(request, console, "edit", context, title=_("Edit arguments"))

    def _edited(
        self, request: HttpRequest, console: Console, queue: str, id: str, form: ArgumentsForm
    ) -> HttpResponse | None:
        """Changes them; None where the form has to be shown again."""
        wants_retry = "retry" in request.POST
        if wants_retry:
            rights.demand(request, rights.OF_VERB["retry"])
        changes = form.changes
        positional = [form.names[at] for at in changes.positional]
        names = [*positional, *changes.named, *changes.removed]
        things, told = [(id, id)], {"arguments": names}
        try:
            with log.unsure(request, console, models.Job, things, "edit", told):
                letter = console.operations.edit(queue, id, changes)
        except (ArgumentsDoNotBind, InvalidArgument, InvalidOption, PayloadTooLarge) as error:
            form.add_error(None, str(error))
            return None
        except (KeyMissing, MalformedJob) as error:
            messages.error(request, str(error))
            return self.go(console, "job_change", id)
        if letter != "O":
            messages.error(request, str(REFUSALS[letter]))
            return self.go(console, "job_change", id)
        log.note(request, console, models.Job, things, "edit", told)
        messages.success(request, _("The arguments were changed."))
        if wants_retry:
            rows = console.inspector.peek(queue, [id])
            params = Params(by=request.user.get_username())
            with log.unsure(request, console, models.Job, things, "retry"):
                done = console.operations.apply("retry", rows, params)
            log.note(request, console, models.Job, things, "retry", {}, done)
            acting.say(request, "retry", done)
        return self.go(console, "job_change", id)


def readable(id: str, raw: bytes, seals: Seals | None) -> Envelope | None:
    """The envelope with its arguments; None where this process cannot, or may not, read them."""
    seals = seals or OPEN
    try:
        return seals.decrypt_envelope(id, seals.verify_envelope(id, raw))
    except (MalformedJob, KeyMissing):
        return None
