"""@periodic: what it stands above, what it takes, and what it refuses at import."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from django_taskq import Task, periodic, task
from django_taskq.backends import RedisBackend
from django_taskq.exceptions import InvalidOption
from django_taskq.periodic import Declaration, _declared, declared, gather, resolve
from tests.engine import tasks


@pytest.fixture(autouse=True)
def _alone(backend: RedisBackend) -> Iterator[None]:
    before = dict(_declared)
    _declared.clear()
    yield
    _declared.clear()
    _declared.update(before)


def plain() -> None: ...


def other() -> None: ...


def greet(name: str, punctuation: str = "!") -> str:
    return name + punctuation


def on(day: date) -> date:
    return day


def test_a_function_becomes_a_task_with_the_options_given() -> None:
    made = periodic("@daily", queue_name="low", max_attempts=1)(plain)

    assert isinstance(made, Task)
    assert (made.queue_name, made.max_attempts) == ("low", 1)
    (schedule,) = declared()
    assert schedule.task is made
    assert (schedule.name, schedule.queue) == (made.module_path, "low")


def test_above_a_task_the_options_are_those_of_its_scheduled_jobs_alone() -> None:
    made = task(timeout=60)(plain)

    assert periodic("@daily", priority=7, timeout=5)(made) is made
    (schedule,) = declared()
    assert (schedule.task.priority, schedule.task.options.timeout) == (7, 5)
    assert (made.priority, made.options.timeout) == (0, 60)


def test_several_schedules_stand_above_one_another_with_names() -> None:
    periodic("0 9 * * *", name="morning", args=["Ada"])(
        periodic("0 17 * * *", name="evening", kwargs={"name": "Bob"})(task(greet))
    )

    assert {made.name: (made.args, made.kwargs) for made in declared()} == {
        "morning": (("Ada",), {}),
        "evening": ((), {"name": "Bob"}),
    }


def test_the_time_zone_is_that_of_the_settings_unless_it_is_said(settings: Any) -> None:
    settings.TIME_ZONE = "America/New_York"
    periodic("@daily", name="ours")(plain)
    periodic("@daily", name="theirs", tz="Asia/Tokyo")(plain)

    assert [made.schedule.tz for made in declared()] == ["America/New_York", "Asia/Tokyo"]


def test_a_second_schedule_under_a_name_is_refused() -> None:
    made = periodic("@daily")(plain)

    with pytest.raises(InvalidOption, match="has a schedule of that name: give this one another"):
        periodic("@hourly")(made)
    with pytest.raises(InvalidOption, match=r"is a schedule of .*plain"):
        periodic("@daily", name=made.module_path)(other)


def test_a_module_that_is_imported_again_declares_its_schedules_anew() -> None:
    first = periodic("@daily")(plain)
    again = type(plain)(plain.__code__, plain.__globals__, "plain")
    again.__module__ = plain.__module__
    periodic("@hourly")(Task(func=again))

    (schedule,) = declared()
    assert schedule.name == first.module_path
    assert schedule.schedule.expression == "@hourly"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"args": [1, 2, 3]}, r"args, kwargs: .*greet\(\) takes"),
        ({}, r"args, kwargs: .*lacks the argument 'name'"),
        ({"args": [object()]}, "args, kwargs: .*argument 'name'"),
        ({"args": "Ada"}, "args: must be a tuple or list, not str"),
        ({"args": ["Ada"], "kwargs": ["!"]}, "kwargs: must be a dict, not list"),
        ({"args": ["Ada"], "name": ""}, "name=''"),
        ({"args": ["Ada"], "timeout": -1}, "timeout=-1"),
        ({"args": ["Ada"], "tz": "Mars"}, "tz='Mars'"),
    ],
)
def test_what_cannot_work_is_refused_at_import(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        periodic("@daily", **given)(greet)
    assert declared() == []


def test_an_unknown_option_is_told_its_neighbour() -> None:
    with pytest.raises(TypeError, match="knows no option 'catchup': did you mean 'catch_up'"):
        periodic("@daily", catchup="one")


def test_a_sensitive_argument_is_not_quoted() -> None:
    secret = task(sensitive=["name"])(greet)

    with pytest.raises(InvalidOption) as caught:
        periodic("@daily", args=["hunter2", b"x" * 3, "too", "many"])(secret)
    assert "hunter2" not in str(caught.value)


# -- rows ------------------------------------------------------------------------------------------


def row(**fields: Any) -> Declaration:
    given = {"name": "row", "task": tasks.add.module_path, "expression": "@daily", "args": [1]}
    return Declaration(**(given | fields))


def test_a_row_becomes_a_schedule_of_the_task_it_names() -> None:
    made = resolve(row(options={"queue_name": "low", "priority": 3}, jitter=5.0))

    assert (made.task.module_path, made.queue, made.task.priority) == (
        tasks.add.module_path,
        "low",
        3,
    )
    assert (made.args, made.schedule.jitter) == ((1,), 5.0)


def test_a_rows_json_becomes_what_the_annotations_name() -> None:
    dated = task(on)

    assert resolve(row(task=dated.module_path, args=["2026-01-02"])).args == (date(2026, 1, 2),)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"task": "os.system"}, "task='os.system': is not known here"),
        ({"task": "django_taskq.tasks.bulk", "args": [{}]}, "for the admin alone"),
        ({"args": []}, "lacks the argument"),
        ({"options": {"queue_name": "nowhere"}}, "nowhere"),
        ({"options": {"color": "red"}}, "color"),
        ({"expression": "0 0 31 2 *"}, "never fires"),
        ({"name": "a\nb"}, "name="),
    ],
)
def test_a_row_that_cannot_work_says_why(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        resolve(row(**fields))


def test_a_row_stands_before_code_even_when_it_cannot_be_used() -> None:
    periodic(timedelta(hours=1), name="row")(plain)
    periodic(timedelta(hours=1), name="code")(plain)

    found, problems = gather([row(expression="@weekly")])
    assert {made.name: made.schedule.expression for made in found} == {
        "row": "@weekly",
        "code": "@every 3600s",
    }
    assert problems == {}
    found, problems = gather([row(task="gone.task")])
    assert [made.name for made in found] == ["code"]
    assert "gone.task" in problems["row"]
