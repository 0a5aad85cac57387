"""What the site does in the background."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.template.loader import render_to_string
from django.utils.translation import gettext

from django_taskq import Cancel, periodic, task


# Pressed twice, the button sends one mail; and the mail server takes five connections.
@task(timeout=60, max_attempts=5, tags=["mail"], unique="until_finished", concurrency_limit=5)
def send_welcome(user_id: int) -> str:
    """Sends the welcome mail of the user with that primary key; returns the address it went to.

    Raises Cancel when the user is gone: there is nobody to write to.
    """
    user = get_user_model().objects.filter(pk=user_id).first()
    if user is None:
        raise Cancel(f"user {user_id} is gone")
    subject = gettext("Welcome, %(name)s!") % {"name": user.get_full_name() or user.username}
    # A line break in a name must not end the header.
    subject = " ".join(subject.split())
    body = render_to_string("signup/welcome.txt", {"user": user})
    EmailMessage(subject, body, to=[user.email]).send()
    return str(user.email)


@periodic("0 3 * * *", name="nightly-cleanup", jitter=600)
@task(timeout=600)
def clear_sessions() -> None:
    """Deletes sessions that are over: nobody else does."""
    call_command("clearsessions")
