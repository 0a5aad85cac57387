"""Keys: made of a job's arguments, the same for calls that mean the same, and safe to show."""

from __future__ import annotations

import functools
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_taskq.exceptions import InvalidArgument, InvalidOption
from django_taskq.job_keys import (
    MAX_KEY,
    Parameters,
    check_key,
    digest,
    key_maker,
    secret_of,
    short_key,
)

SEND = Parameters("send", ["tenant_id", "size", "password"], ["password"])


class Colour(Enum):
    RED = "red"


async def later(tenant_id: int) -> str:
    return "x"


# --- what a task may declare ----------------------------------------------------------------------


@pytest.mark.parametrize("value", ["crm", "tenant:{tenant_id}", "{a.b}:{c[d]!r:>{width}}", str])
def test_a_text_or_a_function_is_a_key(value: Any) -> None:
    assert check_key(value, "limit_key") == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "must be text such as 'tenant:{tenant_id}', or a function"),
        ("  ", "must be text"),
        ("a\nb", "must be text"),
        (5, "must be text"),
        (None, "must be text"),
        ("{tenant_id", "is no format string"),
        ("tenant_id}", "is no format string"),
        ("{}", "must name the parameters"),
        ("{0}:{tenant_id}", "must name the parameters"),
        ("{tenant_id:{}}", "must name the parameters"),
        (later, "must not be an async function"),
    ],
)
def test_what_can_be_no_key_is_refused_with_option_and_value(value: Any, said: str) -> None:
    with pytest.raises(InvalidOption, match=r"^limit_key=") as refusal:
        check_key(value, "limit_key")
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{tenent_id}", "send() has no parameter 'tenent_id'; did you mean 'tenant_id'?"),
        ("{zzz.pk}", "valid names are password, size, tenant_id"),
        ("tenant_id", "is one text for all jobs; did you mean '{tenant_id}'?"),
        ("{password}", "'password' is sensitive"),
        ("{password[0]}", "'password' is sensitive"),
        ("{size:{password}}", "'password' is sensitive"),
    ],
)
def test_a_text_is_held_against_the_parameters(template: str, said: str) -> None:
    with pytest.raises(InvalidOption) as refusal:
        key_maker(template, "limit_key", SEND)
    assert str(refusal.value).startswith(f"limit_key={template!r}: ")
    assert said in str(refusal.value)


def test_a_task_without_parameters_says_so() -> None:
    with pytest.raises(InvalidOption, match="it takes none"):
        key_maker("{a}", "limit_key", Parameters("send", []))


def test_what_takes_all_other_arguments_is_no_way_round_sensitive() -> None:
    known = Parameters("send", ["options"], ["password"], "options")
    with pytest.raises(InvalidOption, match="sensitive"):
        key_maker("{options[password]}", "limit_key", known)
    key_maker("{options[size]}", "limit_key", known._replace(sensitive=[]))


# --- the keys -------------------------------------------------------------------------------------


def made(option: Any, named: dict[str, Any], *args: Any, **kwargs: Any) -> str:
    parameters = Parameters("send", list(named) or ["tenant_id"])
    return key_maker(option, "limit_key", parameters)(args, kwargs, named)


def test_a_text_is_filled_in_with_the_arguments() -> None:
    assert made("tenant:{tenant_id}", {"tenant_id": 5}) == "tenant:5"
    assert made("{a[0]}/{b[c]}", {"a": [1, 2], "b": {"c": "x"}}) == "1/x"
    assert made("crm", {}) == "crm"
    assert made("{{crm}}", {}) == "{crm}"


@pytest.mark.parametrize("template", ["{a[5]}", "{a[b]}", "{a.b}", "{a:%Y-%m}"])
def test_arguments_that_do_not_fit_the_text_are_refused(template: str) -> None:
    with pytest.raises(InvalidArgument, match=r"limit_key=.* cannot be filled in"):
        made(template, {"a": [1]})


def test_a_function_gets_the_arguments_as_they_were_given() -> None:
    given_: list[Any] = []

    def key(*args: Any, **kwargs: Any) -> str:
        given_.append((args, kwargs))
        return "k"

    assert made(key, {}, date(2026, 1, 1), size=Decimal(1)) == "k"
    assert given_ == [((date(2026, 1, 1),), {"size": Decimal(1)})]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("x", "x"),
        (5, "5"),
        (1.5, "1.5"),
        (Decimal("1.0"), "1.0"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2026, 1, 2), "2026-01-02"),
        (Colour.RED, "red"),
    ],
)
def test_a_function_may_answer_with_text_or_a_number(value: Any, key: str) -> None:
    assert made(lambda: value, {}) == key


@pytest.mark.parametrize("value", [None, [], {}, object(), b"x", (1, 2)])
def test_what_else_a_function_answers_with_is_refused(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"limit_key=.* answered with \w+: a key must be"):
        made(functools.partial(lambda value: value, value), {})


def broken(secret: str) -> str:
    raise LookupError(secret)


@pytest.mark.parametrize("arguments", [("hunter2",), ()], ids=["raises", "does not fit"])
def test_a_function_that_fails_is_said_without_what_it_said(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        made(broken, {}, *arguments)
    kind = "LookupError" if arguments else "TypeError"
    assert str(refusal.value) == f"limit_key: broken raised {kind} for these arguments"
    assert type(refusal.value.__cause__).__name__ == kind


def test_long_and_strange_texts_are_kept_as_a_digest() -> None:
    assert short_key("x" * MAX_KEY) == "x" * MAX_KEY
    long, other = short_key("x" * 500 + "a"), short_key("x" * 500 + "b")
    assert long != other
    assert short_key("") != short_key(" ")


@settings(deadline=None)
@given(st.text())
def test_a_key_is_printable_short_and_never_empty(value: str) -> None:
    key = short_key(value)
    assert key.isprintable()
    assert 0 < len(key) <= MAX_KEY
    assert "\0" not in key


@settings(deadline=None)
@given(st.text(max_size=10), st.text(max_size=10))
def test_two_texts_have_two_keys(one: str, two: str) -> None:
    assert (short_key(one) == short_key(two)) is (one == two)


def test_a_digest_needs_the_secret() -> None:
    plain, secret = digest("a"), digest("a", secret_of("s"))
    assert len(plain) == len(secret) == 22
    assert len({plain, secret, digest("a", secret_of("t"))}) == 3
    assert digest("a", secret_of("")) == plain
    assert len(digest("\ud800", secret_of("s" * 500))) == 22
