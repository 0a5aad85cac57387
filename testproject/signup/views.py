"""Sign-up, and a page that shows what became of the welcome mail."""

from __future__ import annotations

import logging
from typing import Any

from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers

from django_taskq.compat import TaskResultDoesNotExist
from django_taskq.exceptions import BrokerError

from .forms import SignupForm
from .tasks import send_welcome

logger = logging.getLogger(__name__)

SESSION_KEY = "signup_jobs"  # the ids of the jobs that this visitor may look at
REMEMBERED = 20
ENDED = frozenset({"succeeded", "dead", "cancelled"})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def signup(request: HttpRequest) -> HttpResponse:
    """The form; a valid one makes the user and enqueues the welcome mail."""
    form = SignupForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            return redirect("signup:job", job_id=_create(request, form))
        except IntegrityError:
            form.add_error("email", _("This address is taken."))
        except BrokerError:
            logger.exception("a welcome mail could not be enqueued")
            return _without_broker(request, form)
    return render(request, "signup/signup.html", {"form": form})


def _without_broker(request: HttpRequest, form: SignupForm) -> HttpResponse:
    """What to say when the queue failed: the job is sent after the commit, so a user may exist."""
    if form.is_known():
        return render(request, "signup/no_mail.html", status=503)
    form.add_error(None, _("Nobody can sign up right now. Please try again in a moment."))
    return render(request, "signup/signup.html", {"form": form}, status=503)


def _create(request: HttpRequest, form: SignupForm) -> str:
    """Makes the user; returns the id of the job that will send the mail.

    The job goes to the worker with the commit: it never looks for a user who is not there yet.
    """
    with transaction.atomic():
        user = form.save()
        result = send_welcome.enqueue(user.pk)
    mine = request.session.get(SESSION_KEY, [])
    request.session[SESSION_KEY] = [*mine, result.id][-REMEMBERED:]
    return str(result.id)


@never_cache
@require_safe
@vary_on_headers("Accept")
def job(request: HttpRequest, job_id: str) -> HttpResponse:
    """How a job stands, for the visitor whose sign-up made it: a page, or JSON if asked for."""
    if job_id not in request.session.get(SESSION_KEY, []):
        raise Http404
    try:
        result = send_welcome.get_result(job_id)
    except TaskResultDoesNotExist:
        raise Http404(_("This job is not kept any more.")) from None
    except BrokerError:
        logger.exception("job %s could not be read", job_id)
        return _show(request, {"id": job_id, "state": None, "ended": False}, status=503)
    return _show(request, describe(result))


def describe(result: Any) -> dict[str, Any]:
    """What a visitor may know of a job: no traceback, and a value only once there is one."""
    state = str(result.state)
    found: dict[str, Any] = {"id": result.id, "state": state, "ended": state in ENDED}
    if state == "succeeded":
        found["value"] = result.return_value
    return found


def _show(request: HttpRequest, found: dict[str, Any], status: int = 200) -> HttpResponse:
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse(found, status=status)
    return render(request, "signup/job.html", {"job": found}, status=status)
