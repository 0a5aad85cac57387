"""What is declared as sensitive is shown nowhere: not in errors, logs, refusals or reprs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.utils.functional import SimpleLazyObject
from django.views.decorators.debug import sensitive_variables

from django_taskq import Task, task
from django_taskq.backends import RedisBackend
from django_taskq.codec import HIDDEN, Mask, Signature, printable, redact
from django_taskq.compat import task_finished
from django_taskq.exceptions import InvalidArgument, InvalidOption
from django_taskq.execution import Attempt, Runner
from django_taskq.job import Envelope, Failure, Grant, Live, Outcome, State
from django_taskq.reader import build_result
from django_taskq.recipe import Recipe
from django_taskq.result import TaskResult
from django_taskq.task import unknown_task
from tests.engine.support import IMMEDIATE, using_backend
from tests.security.tasks import (
    all_marked,
    async_marked,
    double,
    innocent,
    log_in,
    loose,
    marked,
    undeclared,
)

SECRET = "hunter2-hunter2"
CARD = {"number": 4111222233334444, "holder": ["Ada L.", "x"]}


# --- declaring ------------------------------------------------------------------------------------


def test_a_name_that_no_parameter_has_is_an_error_at_import() -> None:
    with pytest.raises(InvalidOption, match="did you mean 'password'"):
        task(sensitive=["pasword"])(undeclared)


@pytest.mark.parametrize("value", ["password", 3, [3], ["not a name"]])
def test_what_are_no_names_is_an_error_at_import(value: Any) -> None:
    with pytest.raises(InvalidOption, match="sensitive"):
        task(sensitive=value)(undeclared)


def test_it_belongs_to_the_function_and_not_to_one_enqueue() -> None:
    with pytest.raises(TypeError, match="using"):
        double.using(sensitive=["n"])
    with using_backend(IMMEDIATE, TASK_DEFAULTS={"sensitive": ["n"]}) as backend:
        assert "sensitive" in backend.check()[0].msg


def test_it_stays_with_every_variation_and_travels_with_no_job() -> None:
    variation = log_in.using(priority=3)
    assert variation.signature.sensitive == {"password", "card"}
    assert "sensitive" not in variation.overrides


# --- redact() -------------------------------------------------------------------------------------


def test_arguments_are_hidden_by_position_and_by_name() -> None:
    assert redact(log_in, ["ada", SECRET], {"card": CARD}) == (["ada", HIDDEN], {"card": HIDDEN})
    assert redact(log_in, [], {"user": "ada", "password": SECRET})[1] == {
        "user": "ada",
        "password": HIDDEN,
    }
    assert redact(double, [1], {}) == ([1], {})


def test_what_stars_take_is_hidden_by_their_name_or_its_own() -> None:
    assert redact(loose, [1, 2, 3], {"token": 4, "free": 5}) == (
        [1, HIDDEN, HIDDEN],
        {"token": HIDDEN, "free": 5},
    )
    signature = Signature(lambda **others: None, sensitive=["others"])
    assert signature.hide([], {"a": 1}) == ([], {"a": HIDDEN})


def test_the_context_is_no_argument() -> None:
    def f(context: Any, key: str) -> None: ...

    assert Signature(f, True, ["key"]).hide([SECRET], {}) == ([HIDDEN], {})


def test_of_an_unknown_task_all_is_hidden() -> None:
    assert redact(unknown_task("gone.tasks.send"), [1], {"a": 2}) == ([HIDDEN], {"a": HIDDEN})


def test_djangos_marks_count_before_the_function_ever_ran() -> None:
    assert redact(marked, ["ada", SECRET], {}) == (["ada", HIDDEN], {})
    assert redact(all_marked, ["ada"], {"pin": 1}) == ([HIDDEN], {"pin": HIDDEN})
    assert redact(async_marked, ["ada", SECRET], {}) == (["ada", HIDDEN], {})

    @sensitive_variables("a")
    @sensitive_variables("b")
    def twice(a: int, b: int, c: int) -> None: ...

    assert Signature(twice).hide([1, 2, 3], {}) == ([HIDDEN, HIDDEN, 3], {})


# --- attempts -------------------------------------------------------------------------------------


def attempt(of: Task, *args: Any, tries: int = 0, **kwargs: Any) -> Attempt:
    raw = _envelope(of, args, kwargs)
    grant = Grant("default", "x.1", raw, Live(fence=1, attempt=tries, holder="h" * 22))
    made = Runner("default", "h" * 22, RedisBackend).prepare(grant, 1)
    assert isinstance(made, Attempt)
    return made


def _envelope(of: Task, args: Any, kwargs: Any) -> bytes:
    from django_taskq.codec import encode_envelope

    plain_args, plain_kwargs = of.signature.dump(args, kwargs)
    return encode_envelope(Envelope(of.module_path, 1, plain_args, plain_kwargs), 1 << 20)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


def text_of(outcome: Outcome, said: pytest.LogCaptureFixture) -> str:
    handler = logging.Formatter("%(message)s")
    return outcome.blob.decode() + "".join(map(handler.format, said.records)) + repr(outcome)


@pytest.mark.parametrize("how", ["", "retry", "cancel", "chain", "card"])
def test_errors_and_logs_of_a_sensitive_task_quote_nothing(
    how: str, said: pytest.LogCaptureFixture
) -> None:
    outcome = attempt(log_in, "ada", SECRET, card=CARD, how=how).run_here()
    text = text_of(outcome, said)
    assert "hunter2" not in text
    assert "4111222233334444" not in text
    assert "Ada L." not in text
    assert HIDDEN in text
    assert "ada" in text or how in ("cancel", "card")  # what is not sensitive stays


@pytest.mark.parametrize("of", [marked, all_marked, async_marked])
def test_djangos_marks_count_for_errors_and_logs(of: Task, said: pytest.LogCaptureFixture) -> None:
    text = text_of(attempt(of, "ada", SECRET).run_here(), said)
    assert SECRET not in text
    assert SECRET[::-1] not in text  # a local variable that is marked
    assert HIDDEN in text


def test_djangos_mark_on_a_function_that_the_task_calls_counts(
    said: pytest.LogCaptureFixture,
) -> None:
    text = text_of(attempt(innocent, "ada").run_here(), said)
    assert "ada knows ********" in text
    assert "correct horse" not in text.replace('inner(user, "correct horse")', "")  # our own source


def test_djangos_own_receiver_logs_a_stand_in(said: pytest.LogCaptureFixture) -> None:
    """It logs the exception that is being handled, with its traceback."""
    seen: list[str] = []

    def receiver(task_result: TaskResult, **more: Any) -> None:
        seen.append(f"{task_result!r} {task_result.errors}")

    task_finished.connect(receiver)
    try:
        text = text_of(attempt(log_in, "ada", SECRET, tries=1).run_here(), said)
    finally:
        task_finished.disconnect(receiver)
    assert seen
    assert SECRET not in text + seen[0]
    assert "Redacted: builtins.ValueError: ada gave '********'" in text


def test_a_task_without_secrets_is_logged_with_its_traceback(
    said: pytest.LogCaptureFixture,
) -> None:
    from tests.security.tasks import grumble

    attempt(grumble, "text").run_here()
    assert any(record.exc_info for record in said.records)


# --- refusals -------------------------------------------------------------------------------------


def test_a_refused_argument_is_named_and_not_quoted() -> None:
    class Odd:
        def __repr__(self) -> str:
            return SECRET

    for bad in ({Odd(): 1}, {SECRET: {1: 2}}, [{SECRET: Odd()}], float("nan"), b"\xff" * 9):
        with pytest.raises(InvalidArgument, match=r"'card'.*sensitive") as caught:
            log_in.signature.dump(["ada", "x"], {"card": bad})
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
    with pytest.raises(InvalidArgument, match=r"'token'.*sensitive"):
        loose.signature.dump([1], {"token": Odd()})
    with pytest.raises(InvalidArgument, match="'free' is a Odd"):
        loose.signature.dump([1], {"free": Odd()})


def test_a_job_that_no_longer_binds_is_parked_without_a_quote() -> None:
    def dated(day: date) -> None: ...

    signature = Signature(dated, sensitive=["day"])
    with pytest.raises(Exception, match=r"'day'.*sensitive") as caught:
        signature.load([SECRET], {})
    assert SECRET not in str(caught.value)


# --- reprs ----------------------------------------------------------------------------------------


def test_no_repr_shows_what_is_sensitive() -> None:
    job = Recipe(log_in, "default", 1 << 20).make("x.1", ("ada", SECRET), {})
    made = attempt(log_in, "ada", SECRET)
    failures = [Failure(c="a.B", m="m")]
    read = build_result(log_in, "x.1", made.envelope, made.grant.live, State.DEAD, failures)
    shown = (
        f"{job!r} {job.draft!r} {job.result!r} {made!r} {made.grant!r} {made.envelope!r} {read!r}"
    )
    assert "ada" in repr(read)
    assert SECRET not in shown
    assert SECRET in job.result.args  # the job itself needs it


# --- masks ----------------------------------------------------------------------------------------


@dataclass
class Account:
    iban: str
    limit: Decimal


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("s3cr3t", "it was s3cr3t."),
        ('say "friend"', "KeyError: 'say \"friend\"'"),
        ('say "friend"', '{"password": "say \\"friend\\""}'),
        ("pässwörd", r"p\xe4ssw\xf6rd or p\u00e4ssw\u00f6rd"),
        ("a b&c=d", "https://x.y/?p=a+b%26c%3Dd"),
        ("a b&c=d", "https://x.y/?p=a%20b%26c%3Dd"),
        ("-----BEGIN-----\nMIIEowIBAAKC\n-----END-----", "bad line: MIIEowIBAAKC"),
        ("abc", "KeyError: 'abc'"),
        (b"\xff\x00secret", repr(b"\xff\x00secret")),
        (123456, "no user 123456"),
        (Account("DE89370400", Decimal("1000.50")), "Account(iban='DE89370400', 1000.50)"),
        ({"a": ["deep", {"b": ("deeper",)}]}, "deep and deeper"),
        (date(2026, 1, 2), "born 2026-01-02 or datetime.date(2026, 1, 2)"),
    ],
)
def test_values_are_found_in_the_forms_in_which_messages_quote_them(value: Any, text: str) -> None:
    masked = Mask([value])(text)
    assert HIDDEN in masked
    for part in (
        "s3cr",
        "friend",
        "p\\",
        "b%26",
        "MIIE",
        "abc",
        "xff",
        "3456",
        "DE89",
        "deep",
        "26",
    ):
        assert part not in masked


def test_what_is_too_short_to_mean_anything_stays() -> None:
    mask = Mask(["no", 12, True, None, ""])
    assert mask("12 no-shows, True or None") == "12 no-shows, True or None"
    assert mask("KeyError: 'no'") == f"KeyError: {HIDDEN}"


def test_a_value_within_another_leaves_no_rest() -> None:
    assert Mask(["secret", "secret-longer"])("secret-longer") == HIDDEN


def test_too_much_to_look_for_hides_all() -> None:
    assert Mask([[f"value {n}" for n in range(5000)]])("anything") == HIDDEN
    assert Mask(["x" * 200_000])("anything") == HIDDEN
    nested: Any = ["deep value"]
    for _ in range(50):
        nested = [nested]
    assert Mask([nested])("deep value") == HIDDEN
    assert not Mask([])
    assert Mask([])("text") == "text"


def test_a_value_that_cannot_be_looked_into_hides_all() -> None:
    """The failure is written down all the same: a mask never raises."""

    def fail() -> str:
        raise RuntimeError

    mask = Mask([SimpleLazyObject(fail)])
    assert mask
    assert mask("anything") == HIDDEN
    assert "lazy value" not in Mask([SimpleLazyObject(lambda: "lazy value")])("a lazy value")


def test_text_for_a_log_is_one_line_without_codes() -> None:
    assert printable("a\nb\x1b[31mc\r\x00\u2028\u202e") == r"a\nb\x1b[31mc\r\x00\u2028\u202e"
    assert printable("grün") == "grün"
    assert len(printable("x" * 5000)) < 600
