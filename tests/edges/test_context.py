"""What goes along with a job: captured at the enqueue, restored around its attempts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from datetime import timezone as fixed
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from asgiref.local import Local
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.utils import timezone, translation

from django_taskq.broker.broker import Draft
from django_taskq.codec import encode_envelope
from django_taskq.compat import TaskResultStatus, task_backends
from django_taskq.context import request_id, tenant, traceparent, user_id
from django_taskq.context.carrier import Carrier
from django_taskq.context.providers import Language, Timezone, variable_of
from django_taskq.exceptions import InvalidOption
from django_taskq.job import Envelope, Kind, Outcome, State
from django_taskq.middleware import RequestContext
from tests.edges import context_tasks
from tests.edges.context_tasks import alook, around, colour, fail, look, nested
from tests.engine.support import IMMEDIATE, Hand, configured, using_backend

HERE = "tests.edges.context_tasks"
ALL = ["language", "timezone", "tenant", "user", "request", "trace", f"{HERE}.Colour"]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PLAIN = ["en", "UTC", None, None, None, None, None]
EVERYTHING = ["de", "Asia/Tokyo", "acme", "42", "req-1", PARENT, {"red": 255}]


@contextmanager
def set_to(variable: Any, value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


@contextmanager
def surroundings(given: Any = None) -> Iterator[None]:
    """A block around which everything is set."""
    with (
        translation.override("de"),
        timezone.override("Asia/Tokyo"),
        set_to(tenant, "acme"),
        set_to(user_id, "42"),
        set_to(request_id, "req-1"),
        set_to(traceparent, PARENT),
        set_to(colour, {"red": 255} if given is None else given),
    ):
        yield


@pytest.fixture
def with_context(url: str, prefix: str) -> Iterator[Callable[..., Any]]:
    """Makes the default backend one with these providers."""
    overrides: list[Any] = []

    def make(*names: str, **options: Any) -> Any:
        entry = configured(url, prefix, CONTEXT=list(names), **options)
        overrides.append(override_settings(TASKS={"default": entry}))
        overrides[-1].enable()
        return task_backends["default"]

    yield make
    for override in overrides:
        override.disable()


def envelope_of(backend: Any, result: Any) -> bytes:
    (stored,) = backend.broker.fetch("default", [result.id])
    return bytes(stored.envelope)


# -- along -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [look, alook], ids=["sync", "async"])
def test_everything_that_was_around_the_enqueue_is_around_the_job(
    with_context: Any, task: Any
) -> None:
    backend = with_context(*ALL)
    with surroundings():
        result = task.enqueue()
    assert around() == PLAIN

    Hand(backend.broker).run()

    result.refresh()
    assert result.return_value == EVERYTHING
    assert around() == PLAIN


@pytest.mark.parametrize("task", [look, alook], ids=["sync", "async"])
def test_a_job_that_took_nothing_along_runs_in_the_settings_language(
    with_context: Any, task: Any
) -> None:
    backend = with_context(*ALL)
    result = task.enqueue()
    Hand(backend.broker).run()
    result.refresh()
    assert result.return_value == PLAIN


def test_language_and_time_zone_go_along_without_being_asked_for(backend: Any, hand: Hand) -> None:
    with surroundings():
        result = look.enqueue()
    hand.run()
    result.refresh()
    assert result.return_value == ["de", "Asia/Tokyo", *PLAIN[2:]]


def test_a_plain_job_is_not_a_byte_larger(with_context: Any) -> None:
    backend = with_context(*ALL)
    with translation.override("en"), timezone.override("UTC"):
        result = look.enqueue()
    raw = envelope_of(backend, result)
    assert raw == encode_envelope(Envelope(look.module_path, backend_time(raw)), 999)


def backend_time(raw: bytes) -> int:
    """When it was enqueued, as the envelope has it."""
    return int(raw.rsplit(b",", 1)[1].strip(b"]"))


def test_a_job_passes_on_what_it_got(with_context: Any) -> None:
    backend = with_context(*ALL)
    with surroundings():
        first = nested.enqueue()
    hand = Hand(backend.broker)
    hand.run()
    hand.run()
    first.refresh()
    assert look.get_result(first.return_value).return_value == EVERYTHING


def test_every_job_of_enqueue_many_has_it(with_context: Any) -> None:
    backend = with_context(*ALL)
    with surroundings():
        results = look.enqueue_many([(), ()])
    Hand(backend.broker).run()
    for result in results:
        result.refresh()
        assert result.return_value == EVERYTHING


def test_aenqueue_captures_what_is_around_the_coroutine(with_context: Any) -> None:
    backend = with_context(*ALL)

    async def view() -> list[Any]:
        with surroundings():
            # The first one asks for the queue's number, on another thread.
            return [await look.aenqueue(), await look.aenqueue()]

    results = asyncio.run(view())
    Hand(backend.broker).run()
    for result in results:
        result.refresh()
        assert result.return_value == EVERYTHING


@pytest.mark.parametrize("task", [look, alook], ids=["sync", "async"])
def test_the_immediate_backend_restores_it_too(task: Any) -> None:
    with using_backend(IMMEDIATE, CONTEXT=ALL), surroundings():
        result = task.enqueue()
        assert result.return_value == EVERYTHING


def test_it_is_there_again_at_a_later_attempt(with_context: Any) -> None:
    backend = with_context(*ALL)
    with surroundings():
        result = look.enqueue()
    hand = Hand(backend.broker)
    hand.settle(*(grant_back(grant) for grant in hand.claim()))
    hand.run()
    result.refresh()
    assert result.return_value == EVERYTHING


def grant_back(grant: Any) -> Any:
    return Outcome(grant, Kind.RETURNED)


def test_encrypted_jobs_have_it_encrypted(with_context: Any) -> None:
    key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    backend = with_context(*ALL, SIGN=True, ENCRYPTION_KEYS=[key])
    with surroundings():
        results = [look.enqueue(), nested.enqueue()]
    raw = envelope_of(backend, results[0])
    for secret in (b"acme", b"req-1", b"Tokyo", b"tenant"):
        assert secret not in raw

    hand = Hand(backend.broker)
    hand.runner.seals = backend.broker.seals
    hand.run()

    results[0].refresh()
    assert results[0].return_value == EVERYTHING


def test_repr_of_an_envelope_says_nothing_of_it() -> None:
    assert "acme" not in repr(Envelope("t", 1, c={"tenant": "acme"}))


# -- languages and time zones ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["de", "pt-br", "zh-hans", "sr@latin"])
def test_a_language_comes_back(name: str) -> None:
    language = Language()
    with translation.override(name):
        value = language.capture()
        expected = translation.get_language()
    with language.restore(value):
        assert translation.get_language() == expected
    assert translation.get_language() == "en"


def test_translation_that_is_off_comes_back_off() -> None:
    language = Language()
    with translation.override(None):
        value = language.capture()
    assert value == ""
    with language.restore(value):
        assert translation.get_language() is None


@pytest.mark.parametrize(
    "zone", [ZoneInfo("Europe/Berlin"), fixed(timedelta(hours=5, minutes=45)), UTC]
)
def test_a_time_zone_comes_back(zone: Any) -> None:
    provider = Timezone()
    with timezone.override(zone):
        value = provider.capture()
        expected = timezone.localtime().utcoffset()
    assert value is not None
    with provider.restore(value):
        assert timezone.localtime().utcoffset() == expected


@pytest.mark.parametrize("name", ["en", "UTC"])
def test_what_the_settings_say_is_not_captured(name: str) -> None:
    with translation.override("en"), timezone.override("UTC"):
        assert (Language().capture(), Timezone().capture()) == (None, None)


def test_the_short_way_to_a_local_agrees_with_the_long_one() -> None:
    """With an asgiref that is made otherwise the long way is taken; here it is not."""
    local: Any = Local()
    variable = variable_of(local)
    assert variable is not None
    assert variable.get(None) is None
    local.value = 1
    assert variable.get(None) is not None
    assert variable_of(object()) is None
    assert variable_of(None) is None


# -- failures --------------------------------------------------------------------------------------


def test_a_provider_that_cannot_capture_is_logged_and_the_job_runs(
    with_context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend = with_context(f"{HERE}.BrokenCapture", "language")
    with surroundings(), caplog.at_level(logging.ERROR, "django_taskq.context"):
        result = look.enqueue()
    assert "BrokenCapture' cannot be captured" in caplog.text
    Hand(backend.broker).run()
    result.refresh()
    assert result.return_value[0] == "de"


def test_a_required_provider_that_cannot_capture_fails_the_enqueue(with_context: Any) -> None:
    with_context(f"{HERE}.BrokenNeeded")
    with pytest.raises(RuntimeError, match="nothing can be captured"):
        look.enqueue()


def test_a_value_that_is_no_json_is_not_taken_along(
    with_context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend = with_context(f"{HERE}.Colour", "tenant")
    with surroundings(given=object()):
        result = look.enqueue()
    assert "Colour' cannot be captured" in caplog.text
    Hand(backend.broker).run()
    result.refresh()
    assert result.return_value[2:] == ["acme", None, None, None, None]


def test_a_provider_that_cannot_restore_is_logged_and_the_job_runs(
    with_context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend = with_context(*ALL)
    with surroundings("unrestorable"):
        result = look.enqueue()
    Hand(backend.broker).run()
    result.refresh()
    assert result.return_value == [*EVERYTHING[:-1], None]
    assert "Colour' cannot be restored" in caplog.text


def test_a_required_provider_that_cannot_restore_fails_the_attempt(with_context: Any) -> None:
    backend = with_context(f"{HERE}.Needed")
    with surroundings("unrestorable"):
        result = look.enqueue()
    (outcome,) = Hand(backend.broker).run()
    assert outcome.kind is Kind.RETRYING
    assert outcome.started > 0
    result.refresh()
    assert "this colour cannot be restored" in result.errors[0].traceback


def test_a_provider_that_cannot_be_left_changes_no_outcome(
    with_context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend = with_context(*ALL)
    with surroundings("unleavable"):
        result = look.enqueue()
    (outcome,) = Hand(backend.broker).run()
    assert outcome.kind is Kind.SUCCEEDED
    assert "Colour' cannot be left" in caplog.text
    assert around() == PLAIN
    result.refresh()
    assert result.status == TaskResultStatus.SUCCESSFUL


def test_a_failed_job_leaves_nothing_behind(with_context: Any) -> None:
    backend = with_context(*ALL)
    with surroundings():
        result = fail.enqueue()
    Hand(backend.broker).run()
    result.refresh()
    assert result.state is State.DEAD
    assert "the job's own" in result.errors[0].traceback
    assert around() == PLAIN


@pytest.mark.parametrize(
    "along",
    [
        {"language": "../../../tmp/evil"},
        {"language": 7},
        {"timezone": "../../etc/passwd"},
        {"timezone": "No/Where"},
        {"timezone": 10**9},
        {"user": ["no text"]},
        {"request": {"no": "text"}},
        {"trace": "no-parent"},
        {"trace": []},
        {"unheard-of": "by this release"},
    ],
    ids=str,
)
def test_what_redis_says_is_not_believed(with_context: Any, along: dict[str, Any]) -> None:
    backend = with_context(*ALL)
    id = f"hostile.{backend.broker.number('default')}"
    raw = encode_envelope(Envelope(look.module_path, 1, c=along), 999)
    backend.broker.enqueue("default", [Draft(id, raw)])
    Hand(backend.broker).run()
    assert look.get_result(id).return_value == PLAIN


@pytest.mark.parametrize("along", [[], "text", 7, None])
def test_what_is_no_mapping_is_quarantined(with_context: Any, along: Any) -> None:
    backend = with_context(*ALL)
    raw = msgspec.json.encode([look.module_path, 1, [], {}, {}, 0, "", along])
    backend.broker.enqueue("default", [Draft("hostile.1", raw)])
    (outcome,) = Hand(backend.broker).run()
    assert outcome.kind is Kind.QUARANTINED


# -- providers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["Colour", "instance", ""], ids=["class", "object", "module"])
def test_a_provider_is_a_class_an_object_or_a_module(path: str) -> None:
    name = f"{HERE}.{path}".rstrip(".")
    with set_to(colour, "red"):
        assert Carrier([name]).capture() == {name: "red"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{HERE}.Nowhere", "cannot be imported"),
        ("nowhere.at.all", "cannot be imported"),
        (f"{HERE}.nonsense", r"has no function capture\(\)"),
        (f"{HERE}.Broken", r"has no function restore\(\)"),
    ],
)
def test_what_cannot_be_a_provider_is_said_by_the_check_and_by_enqueue(
    with_context: Any, name: str, words: str
) -> None:
    backend = with_context(name)
    (problem,) = backend.check()
    assert name in problem.msg
    with pytest.raises(InvalidOption, match=words):
        look.enqueue()


def test_an_unknown_name_is_refused_with_the_nearest(with_context: Any) -> None:
    (problem,) = with_context("langauge").check()
    assert "CONTEXT='langauge'" in problem.msg
    assert "did you mean 'language'?" in problem.msg


# -- requests --------------------------------------------------------------------------------------


def answer(request: Any) -> HttpResponse:
    context_tasks.SEEN.append(around())
    return HttpResponse(look.enqueue().id)


async def aanswer(request: Any) -> HttpResponse:
    if hasattr(request, "auser"):
        await request.auser()
    return HttpResponse((await look.aenqueue()).id)


def run(backend: Any, response: HttpResponse) -> list[Any]:
    """What the job saw that a request enqueued."""
    Hand(backend.broker).run()
    value: list[Any] = look.get_result(response.content.decode()).return_value
    return value


def test_a_request_has_an_id_and_hands_it_on(with_context: Any) -> None:
    backend = with_context("request", "user", "trace")
    request = RequestFactory().get("/", headers={"X-Request-ID": "abc-1", "traceparent": PARENT})
    request.user = User(pk=7)
    response = RequestContext(answer)(request)
    assert response.headers["X-Request-ID"] == "abc-1"
    assert run(backend, response)[3:6] == ["7", "abc-1", PARENT]
    assert around() == PLAIN


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "a\tb", "ä"])
def test_an_id_that_has_no_place_in_a_log_is_replaced(with_context: Any, given: str) -> None:
    backend = with_context("request", "trace")
    request = RequestFactory().get("/", headers={"X-Request-ID": given, "traceparent": given})
    response = RequestContext(answer)(request)
    made = response.headers["X-Request-ID"]
    assert len(made) == 22
    assert run(backend, response)[4:6] == [made, None]


def test_a_visitor_is_no_user(with_context: Any) -> None:
    backend = with_context("user")
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    assert run(backend, RequestContext(answer)(request))[3] is None


def test_a_key_of_any_kind_is_text(with_context: Any) -> None:
    backend = with_context("user")
    request = RequestFactory().get("/")
    request.user = User(pk=UUID(int=1))
    assert run(backend, RequestContext(answer)(request))[3] == str(UUID(int=1))


def test_async_requests_have_it_too(with_context: Any) -> None:
    backend = with_context("request", "user", "trace")
    request = AsyncRequestFactory().get("/", headers={"x-request-id": "abc-2"})

    async def auser() -> Any:
        request._acached_user = User(pk=8)

    request.auser = auser

    async def serve() -> Any:
        return await RequestContext(aanswer)(request)

    response = asyncio.run(serve())
    assert response.headers["X-Request-ID"] == "abc-2"
    assert run(backend, response)[3:5] == ["8", "abc-2"]
    assert around() == PLAIN


# -- OpenTelemetry ---------------------------------------------------------------------------------


def test_a_span_goes_on_in_the_job(with_context: Any) -> None:
    pytest.importorskip("opentelemetry")
    from opentelemetry import context, trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

    state = TraceState([("vendor", "value")])
    span = SpanContext(int(PARENT[3:35], 16), int(PARENT[36:52], 16), True, TraceFlags(1), state)
    carrier = Carrier(["trace"])
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(span)))
    try:
        found = carrier.capture()
    finally:
        context.detach(token)
    assert found == {"trace": [PARENT, "vendor=value"]}

    with carrier.restored(found, {}):
        active = trace.get_current_span().get_span_context()
        assert (active.trace_id, active.span_id) == (span.trace_id, span.span_id)
        assert active.trace_state.get("vendor") == "value"
        assert traceparent.get() == PARENT
        assert carrier.capture() == found
    assert not trace.get_current_span().get_span_context().is_valid


def test_without_a_span_the_header_goes_along() -> None:
    carrier = Carrier(["trace"])
    with set_to(traceparent, PARENT):
        assert carrier.capture() == {"trace": PARENT}
    with carrier.restored({"trace": PARENT}, {}):
        assert traceparent.get() == PARENT
    assert traceparent.get() is None
