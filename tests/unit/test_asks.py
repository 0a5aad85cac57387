"""What a job asks for, as bytes: one for all calls that mean the same, none where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_taskq import Unique
from django_taskq.asks import (
    ASK,
    GATE,
    NOTHING,
    RAISE,
    REPLACE,
    UNTIL_STARTED,
    asks_for,
    on_conflict,
    queue_gates,
)
from django_taskq.codec import Signature
from django_taskq.exceptions import InvalidArgument, InvalidOption
from django_taskq.limits import Limit
from django_taskq.options import TaskOptions, clean


def send(tenant_id: int, size: int = 1, *rest: int, colour: str = "red", **more: Any) -> None: ...


def other(tenant_id: int, /, **more: Any) -> None: ...


def sets(names: set[str], also: frozenset[str] = frozenset("qwertz")) -> None: ...


def ask(
    options: dict[str, Any],
    *args: Any,
    func: Callable[..., Any] = send,
    name: str = "shop.send",
    defaults: dict[str, Any] | None = None,
    secret: str = "s",  # noqa: S107 - of a test
    **kwargs: Any,
) -> bytes:
    signature = Signature(func, sensitive=options.get("sensitive", ()))
    both = TaskOptions(**clean({**(defaults or {}), **options}))
    asks = asks_for(name, both, signature, clean(options), lambda: secret)
    if asks is None:
        return b""
    return asks.of(args, kwargs, *signature.dump(args, kwargs))


def read(raw: bytes) -> tuple[int, int, float, str, str, list[tuple[Any, ...]]]:
    """stays, flags, cost, lock, turn, gates as (most, interval, slack, limit, name)."""
    head, rest = ASK.unpack_from(raw), raw[ASK.size :]
    lock, rest = rest.split(b"\0", 1)
    turn, rest = rest.split(b"\0", 1)
    gates: list[tuple[Any, ...]] = []
    while rest:
        numbers, rest = GATE.unpack_from(rest), rest[GATE.size :]
        limit, name, rest = rest.split(b"\0", 2)
        gates.append((*numbers, limit.decode(), name.decode()))
    return *head, lock.decode(), turn.decode(), gates


def lock_of(*args: Any, **kwargs: Any) -> str:
    return read(ask({"unique": "until_finished"}, *args, **kwargs))[3]


# --- nothing --------------------------------------------------------------------------------------


def test_a_task_without_these_options_asks_for_nothing() -> None:
    assert ask({}, 1) == b""
    assert read(NOTHING) == (0, 0, 0.0, "", "", [])


def test_a_key_for_limits_in_the_settings_is_for_tasks_that_have_some() -> None:
    defaults = {"limit_key": "tenant:{tenant_id}"}
    assert ask({}, 1, defaults=defaults) == b""
    gates = read(ask({"concurrency_limit": 2}, 1, defaults=defaults))[5]
    assert gates[0][4] == "key:tenant:1"


# --- locks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unique", "stays", "flags"),
    [
        ("until_finished", 0, 0),
        ("until_started", 0, UNTIL_STARTED),
        (90, 90_000, 0),
        (Unique(on_conflict="replace"), 0, REPLACE),
        (Unique(on_conflict="raise", until="started", ttl=1), 1000, RAISE | UNTIL_STARTED),
    ],
)
def test_how_long_a_lock_is_held_and_what_a_conflict_means(
    unique: Any, stays: int, flags: int
) -> None:
    assert read(ask({"unique": unique}, 1))[:2] == (stays, flags)


@pytest.mark.parametrize("word", ["return", "replace", "raise"])
def test_what_a_conflict_means_can_be_read_back(word: str) -> None:
    assert on_conflict(ask({"unique": Unique(on_conflict=word)}, 1)) == word
    assert on_conflict(b"") == "return"


def test_calls_that_mean_the_same_have_one_lock() -> None:
    same = [
        lock_of(1),
        lock_of(1, 1),
        lock_of(tenant_id=1),
        lock_of(1, size=1),
        lock_of(1, 1, colour="red"),
        lock_of(colour="red", size=1, tenant_id=1),
    ]
    assert len(set(same)) == 1
    assert lock_of(1, 1, x={"a": 1, "b": 2}) == lock_of(1, 1, x={"b": 2, "a": 1})
    assert lock_of(1, y=1, x=2) == lock_of(1, x=2, y=1)


def test_calls_that_differ_have_two() -> None:
    different = [
        lock_of(1),
        lock_of(2),
        lock_of("1"),
        lock_of(None),
        lock_of(1, 2),
        lock_of(1, 1, 2),
        lock_of(1, 1, 2, 3),
        lock_of(1, colour="blue"),
        lock_of(1, x=1),
        lock_of(1, name="shop.receive"),
        lock_of(1, secret="another"),
        lock_of(1, func=other),
        lock_of(1, func=other, tenant_id=2),
        lock_of(2, func=other, tenant_id=2),
    ]
    assert len(set(different)) == len(different)


def test_the_order_of_a_set_does_not_matter() -> None:
    # In a process it is the same, in two it is not.
    signature = Signature(sets)
    names = [f"n{n}" for n in range(20)]
    assert signature.dump([set(names)], {}) == ([sorted(names)], {})
    assert signature.named([[]], {})["also"] == sorted("qwertz")


def test_a_lock_tells_nothing_about_the_arguments() -> None:
    raw = ask({"unique": Unique("mail:{colour}")}, 1, colour="ada@example.com")
    assert b"ada" not in raw
    assert read(raw)[3] != ""


def test_two_tasks_may_share_a_lock() -> None:
    unique = {"unique": Unique("tenant:{tenant_id}")}
    assert (
        read(ask(unique, 5))[3]
        == read(ask(unique, 5, func=other, name="shop.other"))[3]
        != read(ask(unique, 6))[3]
    )


# --- gates ----------------------------------------------------------------------------------------


def test_a_limit_counts_the_jobs_of_its_task() -> None:
    raw = ask({"concurrency_limit": 3, "rate_limit": "60/m"}, 1)
    assert read(raw)[5] == [(3, 1000.0, 0.0, "task:shop.send", "task:shop.send")]


def test_or_those_with_one_key() -> None:
    options = {"concurrency_limit": 3, "limit_key": "tenant:{tenant_id}"}
    assert read(ask(options, 5))[5] == [(3, 0, 0, "key:tenant:{tenant_id}", "key:tenant:5")]
    options["limit_key"] = "crm"
    assert read(ask(options, 5))[5] == [(3, 0, 0, "key:crm", "key:crm")]


def by_tenant(tenant_id: int) -> str:
    return f"t{tenant_id}"


def test_a_function_may_make_the_key() -> None:
    options: dict[str, Any] = {"concurrency_limit": 3, "limit_key": by_tenant}
    name = f"key:{__name__}.by_tenant"
    assert read(ask(options, 5))[5] == [(3, 0, 0, name, "key:t5")]
    options["limit_key"] = lambda tenant_id: "x"  # without a name it is one task's own
    assert read(ask(options, 5))[5][0][3:] == ("task:shop.send", "key:x")


def test_no_key_of_a_user_meets_a_gate_of_another_kind() -> None:
    names = {
        read(ask({"concurrency_limit": 1, "limit_key": key}, 5))[5][0][4]
        for key in ("shop.send", "task:shop.send", "queue", "key:queue")
    }
    names.add(read(ask({"concurrency_limit": 1}, 5))[5][0][4])
    names.add(read(NOTHING + queue_gates({"mails": Limit(1)})["mails"])[5][0][4])
    assert len(names) == 6


def test_only_queues_with_limits_have_gates() -> None:
    assert list(queue_gates({"mails": Limit(1), "other": Limit()})) == ["mails"]


# --- turns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fair_by", ["tenant_id", "{tenant_id}"])
def test_whose_turn_it_is(fair_by: str) -> None:
    assert read(ask({"fair_by": fair_by}, 5))[2:5] == (1.0, "", "5")


@pytest.mark.parametrize(
    "weights", [{"5": 4}, {5: 4}, lambda key: 4 if key == "5" else 1], ids=["text", "int", "def"]
)
def test_a_turn_costs_less_with_more_weight(weights: Any) -> None:
    options = {"fair_by": "tenant_id", "fair_weights": weights}
    assert read(ask(options, 5))[2] == 0.25
    assert read(ask(options, 6))[2] == 1.0


def test_a_weight_that_cannot_be_is_refused_at_the_enqueue() -> None:
    options = {"fair_by": "tenant_id", "fair_weights": lambda key: 0}
    with pytest.raises(InvalidOption, match=r"fair_weights\('5'\)=0"):
        ask(options, 5)


def test_a_function_for_weights_that_fails_is_the_arguments_fault() -> None:
    options = {"fair_by": "tenant_id", "fair_weights": lambda key: {}[key]}
    with pytest.raises(InvalidArgument, match=r"fair_weights: .* raised KeyError"):
        ask(options, 5)


# --- what does not go together --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit_key": "crm"}, "limit_key='crm': needs a rate_limit or a concurrency_limit"),
        ({"fair_weights": {"5": 2}}, "fair_weights: needs fair_by"),
        ({"fair_by": "tenent_id"}, "did you mean 'tenant_id'?"),
        ({"fair_by": "tenant id"}, "send() has no parameter 'tenant id'"),
        ({"unique": Unique("{tenent_id}")}, "Unique(key)='{tenent_id}'"),
        ({"unique": Unique("tenant_id")}, "did you mean '{tenant_id}'?"),
        ({"concurrency_limit": 1, "limit_key": "{more}", "sensitive": ["x"]}, "is sensitive"),
        ({"fair_by": "tenant_id", "sensitive": ["tenant_id"]}, "'tenant_id' is sensitive"),
    ],
)
def test_what_cannot_work_is_said_when_the_task_is_declared(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidOption) as refusal:
        ask(options, 1)
    assert said in str(refusal.value)


def test_an_option_from_the_settings_says_where_it_is_from() -> None:
    with pytest.raises(InvalidOption, match=r"TASK_DEFAULTS\['fair_by'\]='\{user\}': send\(\) has"):
        ask({}, 1, defaults={"fair_by": "user"})
    with pytest.raises(InvalidOption, match=r"TASK_DEFAULTS\['unique'\]='\{user\}'"):
        ask({}, 1, defaults={"unique": Unique("{user}")})


def test_lifting_a_limit_does_not_ask_to_lift_its_key_too() -> None:
    assert ask({"limit_key": "crm", "rate_limit": None}, 1) == b""
    assert ask({"fair_by": None, "fair_weights": {"5": 2}}, 1) == b""


def test_a_key_that_cannot_be_filled_in_is_refused_at_the_enqueue() -> None:
    with pytest.raises(InvalidArgument, match="limit_key"):
        ask({"concurrency_limit": 1, "limit_key": "{more[x]}"}, 1)
