"""The example site's own logic; the whole of it, with a worker, is what ``make smoke`` runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.mail import EmailMessage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_taskq import Cancel
from django_taskq.periodic import declared
from testproject import processes
from testproject.signup.forms import SignupForm
from testproject.signup.tasks import clear_sessions, send_welcome

FORM = {"first_name": "Ada", "email": "ada@example.com", "password": "an engine of brass"}
JSON = {"headers": {"accept": "application/json"}}

pytestmark = pytest.mark.django_db


def make_user(**changes: str) -> Any:
    form = SignupForm({**FORM, **changes})
    assert form.is_valid(), form.errors
    return form.save()


def use_backend(settings: Any, name: str, **options: Any) -> None:
    backend = {"BACKEND": f"django_taskq.backends.{name}", "OPTIONS": options}
    settings.TASKS = {"default": backend}


@pytest.fixture
def immediate(settings: Any) -> None:
    """Jobs run inside enqueue()."""
    use_backend(settings, "ImmediateBackend")


@pytest.fixture
def unreachable(settings: Any) -> Iterator[None]:
    """The queue's server does not answer: its port is bound, and nobody listens on it."""
    with socket.socket() as taken:
        taken.bind((processes.HOST, 0))
        port = taken.getsockname()[1]
        use_backend(settings, "RedisBackend", URL=f"redis://{processes.HOST}:{port}/0")
        yield


# -- The form ---------------------------------------------------------------------------------


def test_a_user_signs_in_with_the_address_and_the_password() -> None:
    user = make_user(email="Ada@Example.com")

    assert (user.username, user.email, user.first_name) == (*["ada@example.com"] * 2, "Ada")
    assert user.check_password(FORM["password"])
    assert not user.is_staff


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first_name", ""),
        ("email", "ada"),
        ("email", "a" * 150 + "@example.com"),
        ("password", "short"),
        ("password", "password"),
        ("password", "ada@example.com"),
    ],
)
def test_a_form_with_a_bad_value_says_so_at_its_field(field: str, value: str) -> None:
    form = SignupForm({**FORM, field: value})

    assert not form.is_valid()
    assert list(form.errors) == [field]


def test_an_address_is_taken_in_any_case_of_its_letters() -> None:
    make_user()

    assert list(SignupForm({**FORM, "email": "ADA@example.com"}).errors) == ["email"]


# -- The mail ---------------------------------------------------------------------------------


def test_the_mail_greets_the_user_and_its_address_comes_back(
    mailoutbox: list[EmailMessage],
) -> None:
    user = make_user(first_name="Ada & <Co>")

    assert send_welcome(user.pk) == FORM["email"]
    [mail] = mailoutbox
    assert mail.subject == "Welcome, Ada & <Co>!"
    assert mail.to == [FORM["email"]]
    assert "Hello Ada & <Co>," in mail.body


def test_a_line_break_in_a_name_adds_no_header_to_the_mail(
    mailoutbox: list[EmailMessage],
) -> None:
    user = make_user()
    user.first_name = "Ada\r\nBcc: all@example.com"
    user.save()

    send_welcome(user.pk)

    assert mailoutbox[0].message()["Subject"] == "Welcome, Ada Bcc: all@example.com!"
    assert mailoutbox[0].message()["Bcc"] is None


def test_nobody_is_written_to_when_the_user_is_gone(mailoutbox: list[EmailMessage]) -> None:
    with pytest.raises(Cancel):
        send_welcome(0)

    assert not mailoutbox


# -- The night --------------------------------------------------------------------------------


def test_sessions_that_are_over_are_deleted_each_night() -> None:
    for days in (-1, 1):
        session = SessionStore()
        session.set_expiry(timezone.now() + timedelta(days=days))
        session.save()

    clear_sessions()

    assert Session.objects.count() == 1
    (nightly,) = [made for made in declared() if made.task is clear_sessions]
    assert [run.hour for run in nightly.schedule.next_runs(0, 2)] == [3, 3]


# -- The pages --------------------------------------------------------------------------------


def test_a_form_without_its_csrf_token_is_refused() -> None:
    assert Client(enforce_csrf_checks=True).post("/", FORM).status_code == 403


@pytest.mark.usefixtures("immediate")
def test_a_visitor_is_led_to_the_job_and_sees_its_result(
    client: Client, mailoutbox: list[EmailMessage]
) -> None:
    answer = client.post("/", FORM, follow=True)

    page = answer.content.decode()
    assert FORM["email"] in page
    assert 'http-equiv="refresh"' not in page
    job = client.get(answer.redirect_chain[0][0], **JSON).json()
    assert (job["state"], job["value"]) == ("succeeded", FORM["email"])
    assert job["id"] in page
    assert len(mailoutbox) == 1


@pytest.mark.usefixtures("immediate")
def test_a_visitor_may_not_look_at_the_job_of_another(client: Client) -> None:
    url = client.post("/", FORM).url  # type: ignore[attr-defined]

    assert client.get(url).status_code == 200
    assert Client().get(url).status_code == 404


@pytest.mark.usefixtures("immediate")
def test_a_job_that_is_not_kept_any_more_is_not_found(client: Client) -> None:
    session = client.session
    session["signup_jobs"] = ["gone.0"]
    session.save()

    assert client.get(reverse("signup:job", args=["gone.0"])).status_code == 404


def test_a_job_that_has_not_ended_is_looked_at_again(client: Client, settings: Any) -> None:
    use_backend(settings, "DummyBackend")

    answer = client.post("/", FORM, follow=True)

    assert 'http-equiv="refresh"' in answer.content.decode()
    assert client.get(answer.redirect_chain[0][0], **JSON).json()["ended"] is False


@pytest.mark.usefixtures("unreachable")
def test_a_visitor_is_told_when_the_queue_does_not_answer(client: Client) -> None:
    answer = client.post("/", FORM)

    assert answer.status_code == 503
    known = get_user_model().objects.filter(username=FORM["email"]).exists()
    text = "Your account exists" if known else "Please try again"
    assert text in answer.content.decode()


def test_two_requests_for_one_address_at_once_are_an_error_of_the_form(
    client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_backend(settings, "DummyBackend")
    make_user()
    # What the slower of the two finds: the address was free when it looked.
    monkeypatch.setattr(SignupForm, "is_known", lambda form: False)
    monkeypatch.setattr(SignupForm, "validate_unique", lambda form: None)

    answer = client.post("/", FORM)

    assert answer.status_code == 200
    assert "This address is taken." in answer.content.decode()


# -- The processes ----------------------------------------------------------------------------


def test_a_port_that_is_taken_is_not_chosen() -> None:
    with socket.socket() as taken:
        taken.bind((processes.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert processes.free_port(port) not in (0, port)


def test_a_process_that_ends_by_itself_is_named_and_its_log_is_shown(tmp_path: Path) -> None:
    site = processes.Site(logs=tmp_path)
    child = processes.Child("worker", ["no_such_command"], tmp_path / "worker.log")
    site.children.append(child)

    with pytest.raises(processes.Trouble, match="the worker ended with exit code 1"):
        site.run()

    assert "no_such_command" in site.tails()
    site.stop()


def test_a_process_is_stopped_and_waited_for(tmp_path: Path) -> None:
    site = processes.Site(logs=tmp_path)
    port = str(processes.free_port(0))
    site.children.append(
        processes.Child("web server", ["runserver", "--noreload", port], tmp_path / "web.log")
    )
    pid = site.children[0].process.pid

    site.stop()

    assert site.children[0].exit_code is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
