"""What is done to one job alone: a copy of it, and its lock."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import models
from ..copying import enqueue_copy
from ..exceptions import KeyMissing, MalformedJob
from ..registry import is_own
from ..result import TaskResult
from . import calling, log, rights
from .console import Console
from .detail import Detail
from .screen import Screen, post_only
from .searching import can_be_an_id

REFUSALS = (*calling.REFUSALS, KeyMissing, MalformedJob)  # of a copy
UNLOCKED = {
    "O": gettext_lazy("The lock was released."),
    "G": gettext_lazy("That job does not have the lock any more: look at it again."),
    "U": gettext_lazy("The job is not there any more, or asks for no lock."),
}


class OneJob(Screen):
    """The part of the jobs' screen that has to do with one of them."""

    def can_copy(self, request: HttpRequest, job: Detail) -> bool:
        """Whether the user may enqueue a job once more, and anybody can."""
        return rights.may(request, rights.COPY) and job.is_known and not is_own(job.task)

    @post_only
    def copy_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Enqueues the same as a new job, and shows that. What it carries is not shown."""
        rights.demand(request, rights.COPY)
        id = unquote(object_id)
        queue, made = console.queue_of(id), None
        try:
            if queue is not None:
                with log.unsure(request, console, models.Job, [(id, id)], "copy"):
                    made = calling.or_who_has_the_lock(
                        lambda: enqueue_copy(console.operations, console.alias, queue, id)
                    )
        except REFUSALS as error:
            may_see = rights.may(request, rights.VIEW_ARGS)  # it may quote an argument
            messages.error(request, str(error) if may_see else _("No copy can be enqueued."))
            return self.go(console, "job_change", id)
        if made is None:
            messages.error(request, _("The job is not there any more."))
            return self.go(console, "job_changelist")
        return self._copied(request, console, id, made)

    def _copied(
        self, request: HttpRequest, console: Console, id: str, made: TaskResult
    ) -> HttpResponse:
        if calling.is_kept_out(request, made):
            return self.go(console, "job_change", id)
        told = {"of": id, **calling.replacement(made)}
        log.note(request, console, models.Job, [(made.id, made.id)], "copy", told)
        if made.id != id:  # a job that waits can be replaced by its own copy
            log.note(request, console, models.Job, [(id, id)], "copy", {"as": made.id})
        text = str(calling.REPLACED) if made.replaced else _("A copy was enqueued: this is it.")
        messages.success(request, text)
        return self.go(console, "job_change", made.id)

    @post_only
    def unlock_page(self, request: HttpRequest, console: Console, object_id: str) -> HttpResponse:
        """Takes the lock that the job asks for from the job that the page said has it."""
        rights.demand(request, rights.UNLOCK)
        id, owner = unquote(object_id), request.POST.get("owner", "")
        owner = owner if can_be_an_id(owner) else ""
        queue = console.queue_of(id)
        things, told = [(each, each) for each in dict.fromkeys((id, owner))], {"owner": owner}
        with log.unsure(request, console, models.Job, things, "unlock", told):
            letter = console.steering.unlock(queue, id, owner) if queue and owner else "U"
        if letter == "O":
            log.note(request, console, models.Job, things, "unlock", told)
        level = messages.SUCCESS if letter == "O" else messages.WARNING
        messages.add_message(request, level, str(UNLOCKED[letter]))
        return self.go(console, "job_change", id)
