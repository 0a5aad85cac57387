"""``@task`` and ``using()``: every option, and what is refused where it is written down."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.test import override_settings

from django_taskq import Task, task
from django_taskq.backends import RedisBackend
from django_taskq.compat import InvalidTask, InvalidTaskBackend
from django_taskq.exceptions import InvalidOption
from django_taskq.registry import find
from tests.engine import tasks
from tests.engine.support import configured
from tests.engine.tasks import add, undeclared, urgent

TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(autouse=True)
def _only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test declares is unknown to the others."""
    from django_taskq import registry

    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))


def declared(**options: Any) -> Task:
    return task(**options)(undeclared)


# --- declaring ------------------------------------------------------------------------------------


def test_a_bare_decorator_makes_a_task_with_the_defaults() -> None:
    made = task(undeclared)
    assert (made.queue_name, made.priority, made.backend) == ("default", 0, "default")
    assert not made.takes_context
    assert made.options.max_attempts == 5
    assert made.options.timeout == 1800
    assert made.options.on_commit is True


def test_a_task_takes_every_option() -> None:
    made = declared(
        queue_name="critical",
        priority=-7,
        backend="default",
        max_attempts=3,
        backoff=[1, 2.5],
        retry_on=(OSError,),
        give_up_on=["builtins.KeyError"],
        timeout=timedelta(minutes=1),
        expires_in=90,
        retention=0,
        aliases=["shop.tasks.old"],
        tags={"b", "a"},
        on_commit="default",
    )
    options = made.options
    assert (made.queue_name, made.priority) == ("critical", -7)
    assert options.max_attempts == 3
    assert options.backoff == (1.0, 2.5)
    assert options.retry_on == (OSError,)
    assert options.give_up_on == ("builtins.KeyError",)
    assert (options.timeout, options.expires_in, options.retention) == (60.0, 90.0, 0.0)
    assert options.aliases == ("shop.tasks.old",)
    assert options.tags == ("a", "b")
    assert options.on_commit == "default"


def test_a_task_without_limits_has_none() -> None:
    options = declared(max_attempts=None, timeout=None, expires_in=None).options
    assert (options.max_attempts, options.timeout, options.expires_in) == (None, None, None)


def test_what_a_task_leaves_open_comes_from_the_settings(url: str, prefix: str) -> None:
    defaults = {"max_attempts": 9, "timeout": 11, "tags": ["all"]}
    with override_settings(TASKS={"default": configured(url, prefix, TASK_DEFAULTS=defaults)}):
        made = declared(timeout=22)
    assert (made.options.max_attempts, made.options.timeout) == (9, 22.0)
    assert made.options.tags == ("all",)


def test_a_task_moved_to_another_backend_has_that_ones_defaults(url: str, prefix: str) -> None:
    slow = configured(url, prefix, TASK_DEFAULTS={"timeout": 99, "max_attempts": 9})
    with override_settings(TASKS={"default": configured(url, prefix), "slow": slow}):
        moved = declared(max_attempts=2).using(backend="slow")
    assert (moved.options.timeout, moved.options.max_attempts) == (99.0, 2)


def test_calling_a_task_runs_its_function_here_and_now(ran: list[Any]) -> None:
    assert add(1, b=2) == 3
    assert ran == [("add", 1, 2)]


async def _call_async() -> tuple[int, int, int]:
    return await tasks.aadd(1, 2), await tasks.aadd.acall(3, 4), await add.acall(5, 6)


def test_a_task_of_either_kind_can_be_called_from_either_side() -> None:
    import asyncio

    assert asyncio.run(_call_async()) == (3, 7, 11)
    assert tasks.aadd.call(1, 1) == 2
    assert add.call(1, 1) == 2


def test_equal_tasks_are_equal_and_have_one_hash() -> None:
    first, second = urgent.using(timeout=9), urgent.using(timeout=9.0)
    assert first == second
    assert hash(first) == hash(second)
    assert first != urgent
    assert len({first, second, urgent}) == 2


def test_a_task_says_what_it_is_and_cannot_be_changed() -> None:
    assert (add.name, add.module_path) == ("add", "tests.engine.tasks.add")
    with pytest.raises(AttributeError):
        add.priority = 5  # type: ignore[misc]


def test_a_task_of_django_is_one_of_ours() -> None:
    assert isinstance(tasks.plain, Task)
    assert tasks.plain.options.max_attempts == 5
    assert find("tests.engine.tasks.plain") is tasks.plain


# --- using ----------------------------------------------------------------------------------------


def test_using_leaves_the_task_as_it_was() -> None:
    before = copy.copy(urgent)
    urgent.using(priority=9, timeout=1, tags=["x"])
    assert urgent == before
    assert find(urgent.module_path) is urgent


def test_using_takes_every_option() -> None:
    made = urgent.using(
        queue_name="low",
        priority=1,
        max_attempts=8,
        backoff=3,
        retry_on=(OSError,),
        give_up_on=(KeyError,),
        timeout=timedelta(seconds=5),
        expires_in=6,
        retention=timedelta(hours=1),
        tags=["other"],
        on_commit=False,
        run_after=TOMORROW,
        id="mine",
    )
    assert (made.queue_name, made.priority, made.run_after) == ("low", 1, TOMORROW)
    assert made.job_id == "mine"
    options = made.options
    assert (options.max_attempts, options.backoff, options.timeout) == (8, 3.0, 5.0)
    assert (options.retry_on, options.give_up_on) == ((OSError,), (KeyError,))
    assert (options.expires_in, options.retention) == (6.0, 3600.0)
    assert (options.tags, options.on_commit) == (("other",), False)


def test_only_what_differs_from_the_task_travels_with_a_job() -> None:
    assert urgent.using(priority=2).overrides == {}
    made = urgent.using(max_attempts=2, timeout=5, give_up_on=(KeyError,))
    assert made.overrides == {"timeout": 5, "give_up_on": ["builtins.KeyError"]}


def test_none_keeps_djangos_options_and_lifts_our_limits() -> None:
    made = urgent.using(priority=None, queue_name=None, backend=None, timeout=None)
    assert (made.priority, made.queue_name) == (5, "critical")
    assert made.options.timeout is None


def test_the_last_using_wins() -> None:
    made = add.using(run_after=TOMORROW).using(run_after=timedelta(seconds=5))
    assert (made.run_after, made.delay) == (None, 5.0)
    made = made.using(run_after=TOMORROW)
    assert (made.run_after, made.delay) == (TOMORROW, None)
    made = made.using(run_after=None)
    assert (made.run_after, made.delay) == (None, None)


@pytest.mark.parametrize("id", ["a", "x" * 36, "order-7", "x" * 36 + ".12"])
def test_an_id_is_up_to_36_characters_and_perhaps_the_queues_number(id: str) -> None:
    assert add.using(id=id).job_id == id


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["", "x" * 37, "a b", "a\n", "ä", 7, b"a"])
def test_a_bad_id_is_refused(id: Any) -> None:
    with pytest.raises(InvalidOption, match="id="):
        add.using(id=id)


BAD = [
    ("max_attempts", 0),
    ("max_attempts", "3"),
    ("backoff", -1),
    ("backoff", "fast"),
    ("retry_on", (int,)),
    ("give_up_on", 7),
    ("timeout", -3),
    ("timeout", 0),
    ("timeout", float("nan")),
    ("expires_in", -1),
    ("retention", -1),
    ("aliases", "no.list"),
    ("tags", "no list"),
    ("on_commit", None),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_refused_by_its_name(name: str, value: Any) -> None:
    for refused in (lambda: declared(**{name: value}), lambda: add.using(**{name: value})):
        with pytest.raises(ValueError, match=f"{name}="):
            refused()


@pytest.mark.parametrize("value", [-5, timedelta(seconds=-1), "soon", True, float("inf")])
def test_a_bad_delay_is_refused(value: Any) -> None:
    with pytest.raises(InvalidOption, match="run_after="):
        add.using(run_after=value)


def test_a_job_that_no_process_could_read_is_not_made(backend: RedisBackend) -> None:
    late = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5)))

    with pytest.raises(InvalidOption, match=r"run_after=.*before the year 10000"):
        add.using(run_after=late).enqueue(1)


def test_a_naive_time_is_refused_under_use_tz() -> None:
    with pytest.raises(InvalidTask, match="aware"):
        add.using(run_after=datetime(2030, 1, 1))


def test_a_naive_time_is_local_without_use_tz() -> None:
    with override_settings(USE_TZ=False):
        assert add.using(run_after=datetime(2030, 1, 1)).run_after == datetime(2030, 1, 1)


@pytest.mark.parametrize("name", ["nowhere", "", None, 7])
def test_an_unknown_queue_is_refused(name: Any) -> None:
    with pytest.raises(InvalidTask, match=r"Queue|queue"):
        declared(queue_name=name)


def test_an_unknown_queue_is_refused_by_using() -> None:
    with pytest.raises(InvalidTask, match="nowhere"):
        add.using(queue_name="nowhere")


@pytest.fixture
def _any_queue(url: str, prefix: str) -> Iterator[None]:
    entry = {**configured(url, prefix), "QUEUES": []}
    with override_settings(TASKS={"default": entry}):
        yield


@pytest.mark.usefixtures("_any_queue")
def test_without_a_list_any_queue_will_do() -> None:
    assert add.using(queue_name="made-up.7").queue_name == "made-up.7"


@pytest.mark.usefixtures("_any_queue")
@pytest.mark.parametrize("name", ["{x}", "a b", "x" * 65, "ä"])
def test_a_name_that_cannot_be_in_a_key_is_refused(name: str) -> None:
    with pytest.raises(InvalidTask, match="queue_name="):
        add.using(queue_name=name)


@pytest.mark.parametrize("priority", [101, -101, 1.5, "high", [1]])
def test_a_bad_priority_is_refused(priority: Any) -> None:
    with pytest.raises(InvalidTask, match="priority"):
        declared(priority=priority)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InvalidTaskBackend):
        declared(backend="nowhere")


def test_a_lambda_is_refused() -> None:
    with pytest.raises(InvalidTask, match="lambda"):
        task(lambda: 1)


LAMBDA = lambda: 1  # noqa: E731


def test_a_lambda_at_a_modules_level_is_refused_too() -> None:
    with pytest.raises(InvalidTask, match="lambda"):
        task(LAMBDA)


def test_a_nested_function_is_refused() -> None:
    def inner() -> None: ...

    with pytest.raises(InvalidTask, match="module"):
        task(inner)


class Mailer:
    def send(self) -> None: ...

    async def asend(self) -> None: ...


@pytest.mark.parametrize("method", [Mailer.send, Mailer.asend, Mailer().send, Mailer().asend])
def test_a_method_is_refused(method: Any) -> None:
    with pytest.raises(InvalidTask, match=r"module|method"):
        task(method)


@pytest.mark.parametrize("thing", [len, Mailer, Mailer(), print])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(InvalidTask):
        task(thing)


def generating() -> Iterator[int]:
    yield 1


def test_a_generator_is_refused_because_nobody_would_run_it() -> None:
    with pytest.raises(InvalidTask, match="generator"):
        task(generating)


def test_a_context_must_be_the_first_argument() -> None:
    with pytest.raises(InvalidTask, match="context"):
        declared(takes_context=True)


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match=r"'max_attempt'.*'max_attempts'"):
        declared(max_attempt=3)
    with pytest.raises(TypeError, match=r"'timeuot'.*'timeout'"):
        add.using(timeuot=3)


def test_run_after_belongs_to_one_enqueue() -> None:
    with pytest.raises(TypeError, match="using"):
        declared(run_after=TOMORROW)


def test_a_function_cannot_travel_as_backoff() -> None:
    assert declared(backoff=lambda attempt, error: 1).options.backoff
    with pytest.raises(InvalidOption, match="backoff"):
        urgent.using(backoff=lambda attempt, error: 1)


def test_a_name_cannot_stand_for_two_tasks() -> None:
    with pytest.raises(InvalidOption, match="already names"):
        declared(aliases=[add.module_path])
    declared(aliases=[f"{__name__}.module_level"])
    with pytest.raises(InvalidOption, match="is an alias"):
        task(module_level)


def module_level() -> None: ...


def test_a_refused_task_is_not_registered() -> None:
    with pytest.raises(InvalidOption):
        declared(timeout=-1)
    assert find("tests.engine.tasks.undeclared") is None


def test_declaring_opens_no_connection(prefix: str) -> None:
    nowhere = configured("redis://127.0.0.1:1/0", prefix)
    with override_settings(TASKS={"default": nowhere}):
        made = declared(priority=3).using(queue_name="low", run_after=5)
    assert isinstance(made, Task)
    assert RedisBackend.task_class is Task
