"""System checks: what is wrong in the settings, said before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command, get_commands
from django.db import transaction
from django.test import modify_settings, override_settings

from django_taskq import Task, Unique, checks, registry
from django_taskq.checks import check_limits, check_names
from django_taskq.compat import task_backends
from tests.engine.support import DUMMY, IMMEDIATE, REDIS, configured
from tests.engine.tasks import add

NOWHERE = "redis://user:secret@127.0.0.1:1/0"


def problems(entry: dict[str, Any]) -> list[str]:
    with override_settings(TASKS={"default": entry}):
        return [f"{each.id} {each.msg} {each.hint}" for each in task_backends["default"].check()]


def test_good_settings_have_no_problem(url: str, prefix: str) -> None:
    assert problems(configured(url, prefix)) == []


@pytest.mark.parametrize("backend", [REDIS, IMMEDIATE, DUMMY])
def test_an_unknown_option_is_named_with_the_nearest_one(backend: str, prefix: str) -> None:
    (problem,) = problems(configured(NOWHERE, prefix, backend, TASK_DEFAULT={}))
    assert "taskq.E001" in problem
    assert "'TASK_DEFAULT'" in problem
    assert "'TASK_DEFAULTS'" in problem


def test_every_problem_is_said_at_once(prefix: str) -> None:
    wrong = {"TASK_DEFAULTS": {"timeuot": 3, "max_attempts": 0}, "WORKER": {"lease": "long"}}
    found = "\n".join(problems(configured(NOWHERE, prefix, **wrong)))
    for part in ("'timeuot'", "'timeout'", "max_attempts=0", "lease='long'"):
        assert part in found


def test_a_password_is_never_shown(prefix: str) -> None:
    found = problems(configured("nonsense://user:secret@host", prefix))
    assert len(found) == 1
    assert "secret" not in found[0]


def test_a_wrong_setting_does_not_keep_the_site_from_starting(prefix: str) -> None:
    with override_settings(TASKS={"default": {"BACKEND": REDIS, "OPTIONS": {"URL": 7}}}):
        assert task_backends["default"].check()


@pytest.mark.django_db  # Django asks SQLite whether it knows JSON
def test_djangos_own_check_runs_ours(prefix: str) -> None:
    with override_settings(TASKS={"default": configured(NOWHERE, prefix, PREFXI="x")}):
        assert "taskq.E001" in [message.id for message in run_checks()]


@pytest.mark.django_db  # Django asks SQLite whether it knows JSON
def test_checks_open_no_connection(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("a check opened a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with override_settings(TASKS={"default": configured(NOWHERE, prefix)}):
        call_command("check")


# --- names that others have too -------------------------------------------------------------------


def found() -> list[str]:
    return [message.id for message in check_names()]


def test_our_names_are_ours() -> None:
    assert found() == []


@contextmanager
def another_app(place: str) -> Iterator[None]:
    """A block in which an app with a ``runworker`` of its own stands before or behind ours."""
    get_commands.cache_clear()
    with modify_settings(INSTALLED_APPS={place: "tests.edges.shadow"}):
        yield
    get_commands.cache_clear()


def test_a_runworker_of_another_app_is_reported() -> None:
    with another_app("prepend"):
        (message,) = check_names()
    assert message.id == "taskq.W001"
    assert "`manage.py runworker` is the command of tests.edges.shadow" in message.msg
    assert "taskq worker" in str(message.hint)


def test_a_runworker_that_stands_behind_ours_is_no_problem() -> None:
    with another_app("append"):
        assert found() == []


def test_the_unrelated_package_of_this_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "is_installed", lambda name: name == "django-taskq")
    (message,) = check_names()
    assert message.id == "taskq.W002"
    assert "django-taskq" in message.msg


# --- locks and limits -----------------------------------------------------------------------------


@pytest.fixture
def declare(prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Declares tasks of this module, which are forgotten afterwards."""
    known: dict[str, Any] = {}
    monkeypatch.setattr(registry, "_tasks", known)
    monkeypatch.setattr(registry, "_elsewhere", {})
    monkeypatch.setattr(checks, "discover", lambda: None)

    def declare(name: str, **options: Any) -> Task:
        def function(tenant_id: int, tenant: int = 0) -> None: ...

        function.__qualname__ = function.__name__ = name
        return Task(func=function, **options)

    with override_settings(TASKS={"default": configured(NOWHERE, prefix)}):
        yield declare


def warned() -> list[tuple[str, str]]:
    return [(str(message.id), message.msg) for message in check_limits()]


def test_tasks_that_share_a_key_within_a_queue_are_no_trouble(declare: Any) -> None:
    both = {"limit_key": "tenant:{tenant_id}", "concurrency_limit": 3}
    declare("one", unique=Unique("x"), **both)
    declare("two", unique=Unique("x"), **both)
    declare("three", concurrency_limit=5)
    declare("four", concurrency_limit=6, queue_name="low")
    declare("five", queue_name="low", unique="until_started")
    assert warned() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit_key": "crm", "rate_limit": "1/s"}, "share limit_key='crm'"),
        ({"unique": Unique("crm")}, "share Unique(key)='crm'"),
    ],
)
def test_tasks_of_two_queues_with_one_key_are_reported(
    declare: Any, options: dict[str, Any], said: str
) -> None:
    declare("one", **options)
    declare("two", queue_name="low", **options)
    ((id, message),) = warned()
    assert id == "taskq.W010"
    assert f"test_checks.one and test_checks.two {said}" in message
    assert "'default' and 'low'" in message


def test_a_task_that_using_sends_to_another_queue_is_reported(declare: Any) -> None:
    one = declare("one", unique="until_finished")
    one.using(priority=5)
    declare("two").using(queue_name="low")
    declare("three", fair_by="tenant_id").using(queue_name="low")
    assert warned() == []

    one.using(queue_name="low")

    ((id, message),) = warned()
    assert id == "taskq.W010"
    assert "test_checks.one has a lock or a limit, goes to the queue 'default'" in message
    assert "'low' too" in message


def test_a_key_with_two_sets_of_numbers_is_reported(declare: Any) -> None:
    declare("one", limit_key="crm", rate_limit="1/s")
    declare("two", limit_key="crm", rate_limit="2/s")
    ((id, message),) = warned()
    assert id == "taskq.W011"
    assert "name different limits" in message


def test_two_limits_that_make_the_same_keys_are_reported(declare: Any) -> None:
    declare("one", limit_key="tenant:{tenant_id}", rate_limit="1/s")
    declare("two", limit_key="tenant:{tenant}", rate_limit="1/s")
    ((id, message),) = warned()
    assert id == "taskq.W011"
    assert "'tenant:{tenant_id}' of " in message
    assert "'tenant:{tenant}' of " in message


def test_limits_that_never_meet_are_no_trouble(declare: Any) -> None:
    declare("one", limit_key="tenant:{tenant_id}", rate_limit="1/s")
    declare("two", limit_key="also:{tenant}", rate_limit="1/s")
    declare("three", limit_key="tenant:{tenant}", rate_limit="1/s", queue_name="low")
    declare("four", limit_key=lambda tenant_id, tenant=0: tenant, rate_limit="1/s")
    declare("five", limit_key="tenant:", rate_limit="1/s")
    assert warned() == []


def test_a_broken_tasks_module_is_not_reported_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> None:
        raise RuntimeError

    monkeypatch.setattr(checks, "discover", broken)
    assert check_limits() == []


# -- the outbox --------------------------------------------------------------------------------


def test_an_outbox_needs_its_app(url: str, prefix: str) -> None:
    entry = configured(url, prefix, OUTBOX=True)
    assert problems(entry) == []
    with modify_settings(INSTALLED_APPS={"remove": ["django_taskq.outbox"]}):
        (problem,) = problems(entry)
    assert "taskq.E001" in problem
    assert "'django_taskq.outbox' to INSTALLED_APPS" in problem


def test_queues_whose_ids_would_end_alike_are_named(
    url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_taskq.outbox.checks.derived_number", len)
    entry = configured(url, prefix, OUTBOX=True)
    entry["QUEUES"] = ["one", "two", "three"]
    (problem,) = problems(entry)
    assert "'one' and 'two' share a number" in problem


def test_an_enqueue_without_the_app_says_what_is_missing(
    url: str, prefix: str, transactional_db: None
) -> None:
    with (
        override_settings(TASKS={"default": configured(url, prefix, OUTBOX=True)}),
        modify_settings(INSTALLED_APPS={"remove": ["django_taskq.outbox"]}),
        transaction.atomic(),
        pytest.raises(ImproperlyConfigured, match=r"'django_taskq\.outbox' in INSTALLED_APPS"),
    ):
        add.enqueue(1)


def test_the_models_have_their_migrations(db: None) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
