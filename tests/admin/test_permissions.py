"""Who may not, sees nothing and does nothing: every address and every verb, one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.test import Client, override_settings

from django_taskq.admin import rights
from django_taskq.models import PERMISSIONS
from tests.admin.conftest import ROOT, Staff
from tests.broker.helpers import dump
from tests.engine import tasks
from tests.engine.support import Hand

READ = (
    "dashboard/",
    "queue/",
    "queue/default/change/",
    "job/",
    "job/bulk/",
    "job/{id}/change/",
    "failure/",
    "tasktype/",
    "tasktype/tests.engine.tasks.fail/change/",
    "worker/",
    "worker/{id}/change/",
    "schedule/",
    "schedule/nightly/change/",
    "audit/",
)
REDIRECT = ("schedule/nightly/edit/",)
FORMS = (  # which look before they write
    "job/{id}/edit/",
    "tasktype/tests.engine.tasks.fail/call/",
    "queue/default/limit/",
)
WRITE = (
    *FORMS,
    "job/do/",
    "job/{id}/copy/",
    "job/{id}/unlock/",
    "queue/default/pause/",
    "queue/default/resume/",
    "queue/default/purge/",
    "queue/pause-all/",
    "queue/resume-all/",
    "schedule/nightly/do/",
    "schedule/nightly/switch/",
    "worker/{id}/do/",
    "failure/do/",
)
NAMED = {
    "queue": "default",
    "schedule": "nightly",
    "tasktype": "tests.engine.tasks.fail",
}  # by what, if not by an id
FAILURE = {"exception": "builtins.ValueError", "task": "t", "place": "", "span": "day"}
TRIAGE = ("resolve", "ignore", "reopen")
OTHERS = sorted(set(PERMISSIONS) - {rights.VIEW})


@pytest.fixture
def dead(hand: Hand) -> Any:
    """A job that failed for good."""
    result = tasks.fail.using(max_attempts=1).enqueue("for a reason")
    hand.run()
    return result


def test_every_address_is_in_these_tests() -> None:
    addresses = set()
    for model in (
        model for model in admin.site._registry if model._meta.app_label == "django_taskq"
    ):
        name = model._meta.model_name
        for pattern in admin.site.get_model_admin(model).get_urls():
            route = str(pattern.pattern)
            object_id = NAMED.get(str(name), "{id}")
            route = route.replace("<path:object_id>", object_id)
            addresses.add(f"{name}/{route}")

    assert addresses == {*READ, *REDIRECT, *WRITE}


@pytest.mark.parametrize("page", [*READ, *REDIRECT, *WRITE])
def test_nobody_who_is_not_staff_comes_in(db: None, backend: Any, page: str) -> None:
    client = Client()
    address = f"{ROOT}/{page.format(id='x.1')}"
    assert client.get(address).status_code == 302
    client.force_login(get_user_model().objects.create_user("eve"))
    assert client.get(address).status_code == 302
    assert client.post(address).status_code == 302


@pytest.mark.parametrize("page", [*READ, *REDIRECT, *WRITE])
def test_staff_without_permissions_is_refused(
    staff: Callable[..., Staff], dead: Any, page: str
) -> None:
    eve = staff("eve")
    page = page.format(id=dead.id)

    assert eve.get(page).status_code == 403
    assert eve.post(page, verb="delete", job=dead.id).status_code == 403


def test_staff_without_permissions_sees_no_entry(staff: Callable[..., Staff]) -> None:
    eve = staff("eve")

    index = eve.client.get("/admin/").content.decode()

    assert "django_taskq" not in index
    assert eve.client.get(f"{ROOT}/").status_code == 404
    assert "django_taskq" in staff("ada", rights.VIEW).client.get("/admin/").content.decode()


@pytest.mark.parametrize("page", READ)
def test_to_see_is_enough_to_see(staff: Callable[..., Staff], dead: Any, page: str) -> None:
    assert staff("ada", rights.VIEW).get(page.format(id=dead.id)).status_code == 200


@pytest.mark.parametrize("page", [*READ, *REDIRECT, *WRITE])
def test_other_permissions_let_nobody_in_who_may_not_see(
    staff: Callable[..., Staff], dead: Any, page: str
) -> None:
    eve = staff("eve", *OTHERS)
    page = page.format(id=dead.id)

    assert eve.get(page).status_code == 403
    assert eve.post(page, verb="delete", job=dead.id).status_code == 403


@pytest.mark.parametrize("verb", sorted(rights.OF_VERB))
@pytest.mark.parametrize("how", ["ticked", "everything"])
def test_a_verb_needs_its_own_permission(
    staff: Callable[..., Staff], backend: Any, dead: Any, verb: str, how: str
) -> None:
    own = rights.OF_VERB[verb]
    eve = staff("eve", *(set(PERMISSIONS) - {own}))
    before = dump(backend.broker, queue="default")
    fields = {"job": dead.id} if how == "ticked" else {"everything": "1"}

    answer = eve.post("job/do/", verb=verb, confirmed="1", **fields)

    assert answer.status_code == 403
    assert dump(backend.broker, queue="default") == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("page", "permission", "fields"),
    [
        ("queue/default/pause/", rights.PAUSE, {}),
        ("queue/pause-all/", rights.PAUSE, {}),
        ("queue/resume-all/", rights.PAUSE, {}),
        ("queue/default/resume/", rights.PAUSE, {}),
        ("queue/default/purge/", rights.PURGE, {"state": "dead", "name": "default"}),
        ("queue/default/limit/", rights.EDIT_LIMITS, {"limit": "task:x", "concurrency": "1"}),
        ("queue/default/limit/", rights.EDIT_LIMITS, {"limit": "task:x", "release": "1"}),
        ("worker/w/do/", "quiet_worker", {"verb": "quiet"}),
        ("worker/w/do/", "quiet_worker", {"verb": "resume"}),
        ("worker/w/do/", "stop_worker", {"verb": "stop"}),
        ("worker/w/do/", "stop_worker", {"verb": "restart"}),
        ("worker/w/do/", "view_stack", {"verb": "stack"}),
        ("schedule/nightly/do/", "run_schedule", {"verb": "run"}),
        ("schedule/nightly/do/", "pause_schedule", {"verb": "pause"}),
        ("schedule/nightly/do/", "pause_schedule", {"verb": "resume"}),
        ("schedule/nightly/do/", "skip_schedule", {"verb": "skip"}),
        *(("failure/do/", rights.TRIAGE, {**FAILURE, "verb": verb}) for verb in TRIAGE),
        ("job/{id}/copy/", rights.COPY, {}),
        ("tasktype/tests.engine.tasks.fail/call/", rights.CALL, {"priority": "0"}),
        ("job/{id}/unlock/", rights.UNLOCK, {"owner": "x"}),
        ("job/{id}/edit/", rights.EDIT_ARGS, {"arg-0": '"new"'}),
        ("job/{id}/edit/", rights.VIEW_ARGS, {"arg-0": '"new"'}),
        ("job/{id}/edit/", "retry_job", {"arg-0": '"new"', "retry": "1"}),
    ],
)
def test_what_is_no_verb_needs_its_own_permission_too(
    staff: Callable[..., Staff],
    backend: Any,
    dead: Any,
    page: str,
    permission: str,
    fields: dict[str, str],
) -> None:
    eve = staff("eve", *(set(PERMISSIONS) - {permission}))
    before = dump(backend.broker, queue="default")

    assert eve.post(page.format(id=dead.id), **fields).status_code == 403

    assert dump(backend.broker, queue="default") == before


@pytest.mark.parametrize("page", [each for each in WRITE if each not in FORMS])
def test_nothing_is_changed_by_looking(ada: Staff, dead: Any, page: str) -> None:
    assert ada.get(page, verb="delete", job=dead.id, confirmed="1").status_code == 405


@pytest.mark.parametrize("page", WRITE)
def test_a_form_of_another_site_is_refused(ada: Staff, backend: Any, dead: Any, page: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada.user)
    before = dump(backend.broker, queue="default")
    fields = {"verb": "retry", "job": dead.id, "state": "dead", "name": "default"}

    answer = client.post(f"{ROOT}/{page.format(id=dead.id)}", {**fields, "confirmed": "1"})

    assert answer.status_code == 403
    assert "CSRF" in answer.content.decode()
    assert dump(backend.broker, queue="default") == before
    assert not LogEntry.objects.exists()


def test_only_what_may_be_done_is_offered(staff: Callable[..., Staff], dead: Any) -> None:
    ben = staff("ben", rights.VIEW, "retry_job")

    page = ben.sees(f"job/{dead.id}/change/")

    assert 'value="retry"' in page
    assert 'value="delete"' not in page
    assert "Edit arguments" not in page
    assert 'value="delete"' not in ben.sees("job/", state="dead")


def test_who_may_not_see_what_jobs_carry_does_not(staff: Callable[..., Staff], dead: Any) -> None:
    ben = staff("ben", *(set(PERMISSIONS) - {rights.VIEW_ARGS}))
    pages = ["job/", f"job/{dead.id}/change/", "failure/", "dashboard/", "worker/", "schedule/"]
    pages.append("schedule/nightly/change/")

    for page in pages:
        text = ben.sees(page, state="dead")
        assert "for a reason" not in text, page
    # A search would tell as well: what is looked for makes no difference.
    found, nonsense = (ben.sees("job/", state="any", q=word) for word in ("reason", "nonsense"))
    assert (dead.id in found) is (dead.id in nonsense)


def test_the_permissions_can_be_given_to_groups(db: None) -> None:
    from django.contrib.auth.models import Group, Permission

    group = Group.objects.create(name="on call")
    ours = Permission.objects.filter(content_type__app_label="django_taskq")

    group.permissions.add(*ours)

    assert {permission.codename for permission in ours} == set(PERMISSIONS)


def test_a_site_of_ones_own_takes_the_screens(db: None, ada: Staff, backend: Any) -> None:
    with override_settings(ROOT_URLCONF="tests.admin.backoffice"):
        page = ada.client.get("/backoffice/django_taskq/dashboard/")
        answer = ada.client.post("/backoffice/django_taskq/job/do/", {"verb": "retry"})

    assert page.status_code == 200
    assert "/backoffice/django_taskq/queue/" in page.content.decode()
    assert answer.url == "/backoffice/django_taskq/job/?state=ready"
