"""The page of one job: its options, what it asks for, its lock, and a copy of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.test import override_settings
from django.utils import timezone, translation

from django_taskq import context, task
from django_taskq.admin import rights
from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Draft
from django_taskq.codec import decode_envelope, encode_envelope
from django_taskq.compat import task_backends
from django_taskq.job import Envelope, State
from django_taskq.models import PERMISSIONS
from django_taskq.tasks import BULK
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.support import Hand, configured, round_trips
from tests.security.tasks import log_in


def text_of(page: str) -> str:
    """What a reader sees."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def options(page: str) -> dict[str, tuple[str, str]]:
    """Option -> its value, and who said so."""
    part = page[page.index('class="tq-table tq-options"') :]
    rows = re.findall(
        r'<th scope="row"><code>(\w+)</code></th><td><bdi>(.*?)</bdi></td><td.*?>(.*?)</td>', part
    )
    return {name: (value.replace("\xa0", " "), source) for name, value, source in rows}


def undeclared(n: int) -> None:
    """For a test that declares it under settings of its own."""


# -- options ---------------------------------------------------------------------------------------


def test_each_option_says_who_said_it(staff: Callable[..., Staff], url: str, prefix: str) -> None:
    entry = configured(url, prefix, TASK_DEFAULTS={"timeout": 90, "max_attempts": 9})
    with override_settings(TASKS={"default": entry}):
        declare = task(max_attempts=3, backoff=lambda attempt, error: 5, tags=["shop"])
        ruled = declare(undeclared)
        made = ruled.using(retention=7200, queue_name="low", priority=7).enqueue(1)
        found = options(staff("ada", rights.VIEW).sees(f"job/{made.id}/change/"))

    assert found["max_attempts"] == ("3", "the task")
    assert found["retention"] == ("2 h", "this job")
    assert found["timeout"] == ("1 min 30 s", "TASK_DEFAULTS")
    assert found["isolate"] == ("no", "default")
    assert found["queue_name"] == ("low", "this job")
    assert found["priority"] == ("7", "this job")
    assert found["retry_on"] == ("Exception", "default")
    assert found["backoff"][1] == "the task"
    assert "lambda" in found["backoff"][0]
    assert found["tags"] == ("shop", "the task")


def test_of_an_unknown_task_only_the_jobs_own_options_are_known(
    ada: Staff, backend: RedisBackend
) -> None:
    call = Envelope("shop.unknown", 1, o={"max_attempts": 2, "timeout": "garbage", "odd": [1]})
    id = f"{'x' * 22}.{backend.broker.number('default')}"
    backend.broker.enqueue("default", [Draft(id, encode_envelope(call, 1000))])

    assert options(ada.sees(f"job/{id}/change/")) == {"max_attempts": ("2", "this job")}


# -- what it asks for ------------------------------------------------------------------------------


def test_a_job_says_how_full_its_limits_are(ada: Staff, backend: RedisBackend, hand: Hand) -> None:
    *_, last = tasks.narrow.enqueue_many([(n,) for n in range(5)])
    hand.claim(5)

    page = text_of(ada.sees(f"job/{last.id}/change/"))

    assert "Limit of the task" in page
    assert "2 of 2 at once" in page
    assert "3 jobs wait there" in page
    assert "Lock, limits and turn" not in text_of(
        ada.sees(f"job/{tasks.nothing.enqueue().id}/change/")
    )


def test_keys_that_are_made_of_arguments_go_with_them(
    ada: Staff, staff: Callable[..., Staff], backend: RedisBackend
) -> None:
    ben = staff("ben", rights.VIEW)
    for made, key in ((tasks.of_tenant.enqueue(4711, 1), "tenant:4711"),):
        assert key in ada.sees(f"job/{made.id}/change/")
        assert "4711" not in ben.sees(f"job/{made.id}/change/")
    made = tasks.fair.enqueue("gold", 1)
    assert re.search(r"Takes turns as</dt><dd><code>gold<", ada.sees(f"job/{made.id}/change/"))
    assert "gold" not in ben.sees(f"job/{made.id}/change/")


def test_a_page_with_all_of_it_asks_little(ada: Staff, backend: RedisBackend, hand: Hand) -> None:
    made = tasks.once.enqueue(1)
    hand.claim(1)

    with round_trips() as trips:
        page = ada.sees(f"job/{made.id}/change/")

    assert "this job has it" in page
    assert len(trips) <= 3, trips


# -- its lock --------------------------------------------------------------------------------------


def test_a_lock_is_released_and_another_job_can_come(
    ada: Staff, backend: RedisBackend, hand: Hand
) -> None:
    first = tasks.once.enqueue(1)
    hand.claim(1)
    assert tasks.once.enqueue(1).duplicate
    page = ada.sees(f"job/{first.id}/change/")
    assert "Release the lock" in page
    assert f'name="owner" value="{first.id}"' in page

    ada.post(f"job/{first.id}/unlock/", owner=first.id)

    second = tasks.once.enqueue(1)
    assert not second.duplicate
    page = ada.sees(f"job/{first.id}/change/")
    assert f'another job has it: <a href="/admin/django_taskq/job/{second.id}/change/"' in (
        page.replace("_2E", ".")
    )
    (entry,) = LogEntry.objects.all()
    assert json.loads(entry.change_message)["verb"] == "unlock"
    assert "Release the lock" in ada.sees("audit/")


def test_a_lock_that_is_not_the_one_that_was_seen_stays(ada: Staff, backend: RedisBackend) -> None:
    first = tasks.once.enqueue(1)

    for owner in ("somebody.1", "", "\0.1", "x" * 46):
        answer = ada.client.post(
            f"/admin/django_taskq/job/{first.id}/unlock/", {"owner": owner}, follow=True
        )
        assert "any more" in answer.content.decode()

    assert tasks.once.enqueue(1).duplicate
    assert not LogEntry.objects.exists()


# -- a copy ----------------------------------------------------------------------------------------


def copied(who: Staff, id: str) -> str:
    """The id of the copy; fails where there is none."""
    answer = who.post(f"job/{id}/copy/")
    assert answer.status_code == 302
    found = re.search(r"job/([^/]+)/change/", answer.url.replace("_2E", "."))
    assert found
    return found[1]


def test_a_copy_is_the_same_call_as_a_new_job(
    staff: Callable[..., Staff], backend: RedisBackend, hand: Hand
) -> None:
    """Whoever enqueues it need not see what it carries."""
    ben = staff("ben", rights.VIEW, rights.COPY)
    first = log_in.using(queue_name="low", priority=7, max_attempts=4).enqueue("ada", "hunter2")

    id = copied(ben, first.id)

    job = backend.get_result(id)
    assert id != first.id
    assert (job.state, job.args, job.kwargs) == (State.READY, ["ada", "hunter2"], {})
    assert (job.task.queue_name, job.task.priority, job.task.max_attempts) == ("low", 7, 4)
    assert "hunter2" not in ben.sees(f"job/{id}/change/")
    entries = {entry.object_id: entry.change_message for entry in LogEntry.objects.all()}
    assert json.loads(entries[first.id])["told"] == {"as": id}
    assert json.loads(entries[id])["told"] == {"of": first.id}
    assert "hunter2" not in str(entries)


def test_a_copy_of_a_sealed_job_is_sealed_for_itself(
    staff: Callable[..., Staff], url: str, prefix: str
) -> None:
    entry = configured(url, prefix, SIGN=True, ENCRYPTION_KEYS=["k" * 43])
    with override_settings(TASKS={"default": entry}):
        backend = task_backends["default"]
        ada = staff("ada", "everything")
        first = log_in.enqueue("ada", password="hunter2")

        id = copied(ada, first.id)

        hand = Hand(backend.broker)
        raw = backend.broker.fetch("default", [id])[0].envelope
        outcomes = hand.run()
    assert b"hunter2" not in raw
    assert len(outcomes) == 2, "both run: neither is refused"


def test_a_copy_takes_along_what_the_job_took(
    staff: Callable[..., Staff], url: str, prefix: str
) -> None:
    """And not what there is where an operator clicks: another tenant, another language."""
    entry = configured(url, prefix, CONTEXT=["language", "tenant"])
    with override_settings(TASKS={"default": entry}):
        token = context.tenant.set("acme")
        with translation.override("fa"):
            first = tasks.nothing.enqueue()
        context.tenant.reset(token)
        page = staff("ada", "everything")

        id = copied(page, first.id)

        text = page.sees(f"job/{id}/change/")
    assert re.search(r"<dt>tenant</dt><dd><code>&quot;acme&quot;", text)
    assert re.search(r"<dt>language</dt><dd><code>&quot;fa&quot;", text)


def test_a_copy_takes_nothing_along_where_the_job_took_nothing(
    staff: Callable[..., Staff], url: str, prefix: str
) -> None:
    """What is not in a job is as much its own: the settings' language, no tenant, no user."""
    names = ["language", "timezone", "tenant", "user", "request"]
    entry = configured(url, prefix, CONTEXT=names)
    with override_settings(TASKS={"default": entry}):
        first = tasks.nothing.enqueue()
        page = staff("ada", "everything")
        page.client.cookies[settings.LANGUAGE_COOKIE_NAME] = "fa"
        variables = {context.tenant: "acme", context.user_id: "7", context.request_id: "r1"}
        tokens = {variable: variable.set(value) for variable, value in variables.items()}
        with translation.override("fa"), timezone.override("Asia/Tehran"):
            mine = tasks.nothing.enqueue()
            id = copied(page, first.id)
        for variable, token in tokens.items():
            variable.reset(token)

        fetched = task_backends["default"].broker.fetch("default", [first.id, mine.id, id])
        took = [decode_envelope(job.envelope).c for job in fetched]
    assert set(took[1]) == set(names), "the operator has something of each"
    assert (took[0], took[2]) == ({}, {})


def test_a_copy_asks_for_its_lock_as_any_other(ada: Staff, backend: RedisBackend) -> None:
    first = tasks.once.enqueue(1)
    before = tasks.only.enqueue(1)

    for made in (first, before):
        answer = ada.client.post(f"/admin/django_taskq/job/{made.id}/copy/", follow=True)
        told = text_of(answer.content.decode())
        assert f"Nothing was enqueued: job {made.id} has the lock." in told

    assert not LogEntry.objects.exists()


def test_a_copy_may_replace_another_job(ada: Staff, backend: RedisBackend, hand: Hand) -> None:
    """And says so: to whoever asked for it, and at both jobs."""
    ended = tasks.index.enqueue(5, "old")
    hand.run()
    waiting = tasks.index.enqueue(5, "new")

    answer = ada.client.post(f"/admin/django_taskq/job/{ended.id}/copy/", follow=True)

    assert "No new job was made: this one had the lock" in text_of(answer.content.decode())
    assert backend.get_result(waiting.id).args == [5, "old"]
    entries = {entry.object_id: entry.change_message for entry in LogEntry.objects.all()}
    told = {id: json.loads(message)["told"] for id, message in entries.items()}
    assert told == {
        waiting.id: {"of": ended.id, "replaced": waiting.id},
        ended.id: {"as": waiting.id},
    }


def test_a_copy_of_a_job_that_waits_may_replace_it(ada: Staff, backend: RedisBackend) -> None:
    made = tasks.index.using(run_after=3600).enqueue(5, "soon")

    assert copied(ada, made.id) == made.id

    assert backend.get_result(made.id).state is State.READY
    (entry,) = LogEntry.objects.all()
    assert json.loads(entry.change_message)["told"] == {"of": made.id, "replaced": made.id}


def test_a_job_with_context_that_is_none_is_refused(
    staff: Callable[..., Staff], url: str, prefix: str
) -> None:
    entry = configured(url, prefix, CONTEXT=["tenant"])
    with override_settings(TASKS={"default": entry}):
        broker = task_backends["default"].broker
        id = f"{'x' * 22}.{broker.number('default')}"
        call = Envelope(tasks.nothing.module_path, 1, c={"tenant": 7})
        broker.enqueue("default", [Draft(id, encode_envelope(call, 1000))])

        page = staff("ada", "everything").client.post(
            f"/admin/django_taskq/job/{id}/copy/", follow=True
        )

        assert 'class="error"' in page.content.decode()
        assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("row", "said"),
    [({}, "raised KeyError for these arguments"), ({1: None}, "answered with NoneType")],
    ids=["fails", "answers with nothing"],
)
def test_a_function_for_keys_that_fails_breaks_no_page(
    ada: Staff,
    backend: RedisBackend,
    monkeypatch: pytest.MonkeyPatch,
    row: dict[int, None],
    said: str,
) -> None:
    """What a project looks up may be gone since the job was enqueued."""
    monkeypatch.setattr(tasks, "ROWS", {1: "a", 2: "b"})
    first = tasks.of_row.enqueue(1)
    monkeypatch.setattr(tasks, "ROWS", {2: "b", **row})
    call = {"arg-pk": "1", "queue_name": "default", "priority": "0"}

    for page, fields in (
        (f"job/{first.id}/copy/", {}),
        (f"job/{first.id}/edit/", {"arg-0": "2"}),
        (f"tasktype/{tasks.of_row.module_path}/call/", call),
    ):
        answer = ada.client.post(f"/admin/django_taskq/{page}", fields, follow=True)
        assert answer.status_code == 200
        assert said in text_of(answer.content.decode()), page

    assert backend.server.command("ZCARD", backend.broker.key("default", "ready")) == 1
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    "envelope",
    [Envelope("shop.unknown", 1), Envelope(BULK, 1, [{}]), Envelope(tasks.add.module_path, 1)],
)
def test_what_cannot_be_enqueued_here_is_refused(
    ada: Staff, staff: Callable[..., Staff], backend: RedisBackend, envelope: Envelope
) -> None:
    """A task that nobody knows, our own for the admin, arguments that fit no more."""
    id = f"{'x' * 22}.{backend.broker.number('default')}"
    backend.broker.enqueue("default", [Draft(id, encode_envelope(envelope, 1000))])
    ready = backend.broker.key("default", "ready")

    for who in (ada, staff("ben", rights.VIEW, rights.COPY)):
        page = who.client.post(f"/admin/django_taskq/job/{id}/copy/", follow=True).content.decode()
        assert 'class="error"' in page

    assert backend.server.command("ZCARD", ready) == 1
    assert not LogEntry.objects.exists()


def test_only_what_can_be_copied_offers_it(
    ada: Staff, staff: Callable[..., Staff], backend: RedisBackend
) -> None:
    made = tasks.once.enqueue(1)
    id = f"{'x' * 22}.{backend.broker.number('default')}"
    backend.broker.enqueue("default", [Draft(id, b'["shop.unknown",1]')])
    eve = staff("eve", *(set(PERMISSIONS) - {rights.COPY, rights.UNLOCK}))

    assert "Enqueue a copy" in ada.sees(f"job/{made.id}/change/")
    assert "Enqueue a copy" not in ada.sees(f"job/{id}/change/")
    page = eve.sees(f"job/{made.id}/change/")
    assert "Enqueue a copy" not in page
    assert "Release" not in page


def test_there_is_no_copy_of_what_is_gone(ada: Staff, backend: RedisBackend) -> None:
    id = f"{'x' * 22}.{backend.broker.number('default')}"

    for gone in (id, "nowhere.99"):
        assert ada.post(f"job/{gone}/copy/").status_code == 302

    assert not LogEntry.objects.exists()
