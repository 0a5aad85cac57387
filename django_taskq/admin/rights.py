"""Who may do what: a permission per verb, asked for in every view."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

VIEW = "view_taskq"
VIEW_ARGS = "view_args"
EDIT_ARGS = "edit_args"
UNLOCK = "unlock_job"
CALL = "enqueue_task"
COPY = "run_job"  # it has code run, as running a job before its time has
PAUSE = "pause_queue"
PURGE = "purge_queue"
TRIAGE = "triage_failure"
EDIT_LIMITS = "edit_limits"

# verb -> the permission it needs, as Timetable has them
OF_ORDER = {
    "run": "run_schedule",
    "pause": "pause_schedule",
    "resume": "pause_schedule",
    "skip": "skip_schedule",
}

# order to a worker -> the permission it needs, see roster.ORDERS
OF_WORKER = {
    "quiet": "quiet_worker",
    "resume": "quiet_worker",
    "restart": "stop_worker",
    "stop": "stop_worker",
    "stack": "view_stack",
}

# verb -> the permission it needs, as operations.VERBS has them
OF_VERB = {
    "retry": "retry_job",
    "retry_at": "retry_job",
    "run": "run_job",
    "prioritize": "prioritize_job",
    "move": "move_job",
    "cancel": "cancel_job",
    "kill": "kill_job",
    "delete": "delete_job",
}


def may(request: HttpRequest, permission: str) -> bool:
    """Whether the user has one of our permissions."""
    return request.user.has_perm(f"django_taskq.{permission}")


def demand(request: HttpRequest, *permissions: str) -> None:
    """Raises PermissionDenied for a user who lacks one of them."""
    for permission in permissions:
        if not may(request, permission):
            raise PermissionDenied


def verbs(request: HttpRequest) -> list[str]:
    """What the user may do to jobs."""
    return [verb for verb, permission in OF_VERB.items() if may(request, permission)]
