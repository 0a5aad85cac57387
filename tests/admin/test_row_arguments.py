"""The form of a schedule's row has a field for each argument, and keeps what it does not show."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override

from django_taskq import periodic, task
from django_taskq.admin.fields import KINDS, JsonField, argument_field, kind_of, read, shown
from django_taskq.codec import HIDDEN, Signature
from django_taskq.codec.slots import Split, joined, split
from django_taskq.exceptions import ArgumentsDoNotBind
from django_taskq.periodic import Declaration, resolve
from django_taskq.schedules.models import Schedule
from tests.admin.conftest import Staff
from tests.engine import tasks

FORM = "/admin/taskq_schedules/schedule"


@task(sensitive=["key"])
def sync(shop: str, key: str, copies: int = 1, day: date | None = None) -> None: ...


@task(sensitive=["key"])
def other(key: str = "", shop: str = "") -> None: ...


@task(sensitive=["when"])
def later(when: date) -> None: ...


@task(sensitive=["token"])
def optional(a: int, token: str = "") -> None: ...


@task(sensitive=["keys"])
def vault(*keys: str) -> None: ...


@task
def greedy(first: int, /, *rest: str, flag: bool = False, **others: int) -> None: ...


def fields(of: Any, **changed: Any) -> dict[str, Any]:
    """The form as it is sent when it showed the fields of a task."""
    given = {
        "name": "stock",
        "task": of.module_path,
        "arguments_of": of.module_path,
        "expression": "30 2 * * *",
        "enabled": "on",
        "overlap": "skip",
        "catch_up": "one",
        "jitter": "0",
    }
    return given | changed


def args(**values: str) -> dict[str, str]:
    return {f"arg-{name}": value for name, value in values.items()}


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


def row(of: Any, *args: Any, name: str = "stock", **kwargs: Any) -> Schedule:
    made = Schedule(name=name, task=of.module_path, args=[*args], kwargs=kwargs)
    made.expression = "30 2 * * *"
    made.save()
    return made


def called(name: str = "stock") -> tuple[Any, Any]:
    made = Schedule.objects.get(name=name)
    return made.args, made.kwargs


def field(page: str, name: str) -> str:
    """What a textarea of the page says; fails where there is none."""
    area = rf'<textarea name="{re.escape(name)}"[^>]*>\r?\n?(.*?)</textarea>'
    found = re.search(area, page, re.DOTALL)
    assert found is not None, name
    return unescape(found[1])


def has_field(page: str, name: str) -> bool:
    return f'<textarea name="{name}"' in page


# -- a value in a field ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "value", "text"),
    [
        (str, "plain", "plain"),
        (str, "two\nlines", "two\nlines"),
        (str, "", '""'),
        (str, " edges ", '" edges "'),
        (str, '"quoted"', '"\\"quoted\\""'),
        (str, "5", "5"),
        (str, 5, "5"),
        (str, None, "null"),
        (int, 5, "5"),
        (int, "5", '"5"'),
        (float, 1, "1"),
        (bool, True, "true"),
        (date, "2027-12-31", "2027-12-31"),
        (dict[str, int], {"a": 1}, '{"a":1}'),
        (str | None, "text", '"text"'),
    ],
)
def test_a_field_says_a_value_so_that_the_same_comes_back(hint: Any, value: Any, text: str) -> None:
    kind = kind_of(hint, value)

    assert shown(kind, value) == text
    assert read(kind, text) == value


def test_browsers_end_lines_with_two_characters() -> None:
    made = argument_field(KINDS[str], "x", "two\nlines", "", required=True)

    assert made.clean("two\r\nlines") == "two\nlines"
    assert not made.has_changed("two\nlines", "two\r\nlines")


@pytest.mark.parametrize(
    ("hint", "text", "said"),
    [
        (int, "1.5", "no whole number"),
        (int, "true", "no whole number"),
        (int, "five", "no whole number"),
        (float, '"1"', "no number"),
        (bool, "1", "neither true nor false"),
        (bool, "True", "neither true nor false"),
        (str, '"open', "no JSON"),
        (list[int], "[1", "no JSON"),
    ],
)
def test_what_is_no_such_value_is_said(hint: Any, text: str, said: str) -> None:
    with override("en"), pytest.raises(ValueError, match=said):
        read(kind_of(hint), text)


@pytest.mark.parametrize(
    ("initial", "data", "changed"),
    [
        ({"a": [1]}, '{"a":\r\n[1]}', False),
        ({"a": 1}, '{"a": true}', True),
        ([], "", False),
        ([1], "", True),
        ([1], "[", True),
    ],
)
def test_json_has_changed_when_it_says_something_else(
    initial: Any, data: str, changed: bool
) -> None:
    assert JsonField(required=False).has_changed(initial, data) is changed
    assert not JsonField(required=False, disabled=True).has_changed(initial, data)


# -- arguments by what takes them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (([1], {}), Split({"first": 1}, [], {}, 1)),
        (([1, "a", "b"], {"flag": True}), Split({"first": 1, "flag": True}, ["a", "b"], {}, 1)),
        (([1], {"x": 2}), Split({"first": 1}, [], {"x": 2}, 1)),
        (([], {"first": 1}), Split({}, [], {"first": 1}, 0)),  # it can be given by position alone
    ],
)
def test_arguments_are_taken_apart_and_put_together_again(
    given: tuple[list[Any], dict[str, Any]], parts: Split
) -> None:
    signature = Signature(greedy.func)

    assert split(signature, *given) == parts
    assert joined(signature, parts) == given


@pytest.mark.parametrize(
    "given", [([1, 2, 3], {}), ([1], {"a": 1}), ([], {"c": 1}), (None, {}), ([], []), ("x", {})]
)
def test_arguments_without_a_place_are_not_taken_apart(given: tuple[Any, Any]) -> None:
    assert split(tasks.add.signature, *given) is None


def test_what_stays_by_position_does_and_the_rest_needs_all_before_it() -> None:
    signature = Signature(greedy.func)

    assert joined(tasks.add.signature, Split({"a": 1, "b": 2}, lead=1)) == ([1], {"b": 2})
    assert joined(tasks.add.signature, Split({"b": 2}, lead=2)) == ([], {"b": 2})
    with pytest.raises(ArgumentsDoNotBind, match="needs 'first' too"):
        joined(signature, Split({}, ["a"]))


# -- fields ----------------------------------------------------------------------------------------


def test_a_button_shows_the_fields_of_the_chosen_task_without_a_script(ada: Staff) -> None:
    blank = text_of(ada.client.get(f"{FORM}/add/"))
    assert "Choose a task" in blank
    assert not has_field(blank, "args")
    given = fields(sync, name="", _arguments="1")
    del given["arguments_of"]

    page = text_of(ada.client.post(f"{FORM}/add/", given))

    assert "errornote" not in page
    assert "errorlist" not in page
    assert [field(page, f"arg-{name}") for name in ("shop", "key", "copies", "day")] == [""] * 4
    assert not has_field(page, "args")
    assert f'name="arguments_of" value="{sync.module_path}"' in page
    assert "date | None" in page
    assert "Left empty, it is 1." in page
    assert '<label class="required" for="id_arg-shop">' in page
    assert '<label class="required" for="id_arg-copies">' not in page
    assert not Schedule.objects.exists()


def test_what_the_fields_say_is_kept_as_the_row_keeps_arguments(ada: Staff) -> None:
    given = fields(sync, **args(shop="corner", key='"k"', copies="3", day='"2027-12-31"'))

    answer = ada.client.post(f"{FORM}/add/", given)

    assert answer.status_code == 302
    assert called() == ([], {"shop": "corner", "key": "k", "copies": 3, "day": "2027-12-31"})
    assert resolve(Schedule.objects.get().declaration()).kwargs["day"] == date(2027, 12, 31)


def test_a_row_opens_with_its_arguments_and_what_is_left_empty_goes(ada: Staff) -> None:
    made = row(tasks.add, 1, b=2)
    page = text_of(ada.client.get(f"{FORM}/{made.pk}/change/"))
    assert (field(page, "arg-a"), field(page, "arg-b")) == ("1", "2")

    ada.client.post(f"{FORM}/{made.pk}/change/", fields(tasks.add, **args(a="5", b="")))

    assert called() == ([5], {})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (args(shop="", key="k"), "This field is required."),
        (args(shop="x", key="k", copies="many"), "This is no whole number."),
        (args(shop="x", key="k", day='"soon"'), "does not fit"),
        (args(shop='"x', key="k"), "This is no JSON."),
    ],
)
@pytest.mark.parametrize("how", ["_save", "_preview"])
def test_what_is_wrong_with_an_argument_is_said_once_at_its_field(
    ada: Staff, wrong: dict[str, str], said: str, how: str
) -> None:
    page = text_of(ada.client.post(f"{FORM}/add/", fields(sync, **wrong, **{how: "1"})))

    assert page.count(said) == 1
    assert page.count('<ul class="errorlist"') == 1
    assert field(page, "arg-shop") == wrong["arg-shop"]
    assert not Schedule.objects.exists()


def test_the_value_of_a_secret_that_does_not_fit_is_not_quoted(ada: Staff) -> None:
    page = text_of(ada.client.post(f"{FORM}/add/", fields(later, **args(when='"hunter2"'))))

    assert "it is sensitive" in page
    assert page.count("hunter2") == 1  # where it was typed


def test_what_has_no_parameter_of_its_own_is_json(ada: Staff) -> None:
    given = fields(
        greedy, **args(first="1", flag="true"), args='["a", "b"]', kwargs='{"x": 1, "y": 2}'
    )
    ada.client.post(f"{FORM}/add/", given)
    made = Schedule.objects.get()
    assert called() == ([1, "a", "b"], {"flag": True, "x": 1, "y": 2})

    page = text_of(ada.client.get(f"{FORM}/{made.pk}/change/"))
    assert field(page, "args") == '["a", "b"]'
    assert ">*rest:</label>" in page
    assert field(page, "kwargs") == '{"x": 1, "y": 2}'

    wrong = fields(greedy, **args(first="1", flag=""), args='{"a": 1}', kwargs='{"x": 1}')
    assert "This is no JSON list." in text_of(ada.client.post(f"{FORM}/{made.pk}/change/", wrong))


def test_what_is_sent_for_a_star_that_the_task_has_not_is_no_argument(ada: Staff) -> None:
    given = fields(tasks.add, **args(a="1", b=""), args="[7]", kwargs='{"c": 1}')

    ada.client.post(f"{FORM}/add/", given)

    assert called() == ([], {"a": 1})


def test_a_task_without_arguments_says_so(ada: Staff) -> None:
    page = text_of(ada.client.post(f"{FORM}/add/", fields(tasks.nothing, _arguments="1")))
    assert "It takes no arguments." in page

    ada.client.post(f"{FORM}/add/", fields(tasks.nothing))
    assert called() == ([], {})


def test_an_argument_too_long_to_be_edited_stays(ada: Staff) -> None:
    made = row(tasks.fail, "x" * 30_000)
    page = text_of(ada.client.get(f"{FORM}/{made.pk}/change/"))
    assert "Too long to be edited here." in page

    ada.client.post(f"{FORM}/{made.pk}/change/", fields(tasks.fail, jitter="5"))

    made.refresh_from_db()
    assert (made.args, made.jitter) == (["x" * 30_000], 5)


def test_only_what_was_changed_is_written_down(ada: Staff) -> None:
    made = row(greedy, 1, "a", flag=True, x=2)
    made.args[1:] = ["many words, so that they need more than one line", "of JSON when shown"]
    made.save()
    url = f"{FORM}/{made.pk}/change/"
    page = text_of(ada.client.get(url))
    names = ("arg-first", "arg-flag", "args", "kwargs")
    seen = {name: field(page, name).replace("\n", "\r\n") for name in names}

    def told(**changed: str) -> Any:
        ada.client.post(url, fields(greedy, **{**seen, **changed}))
        return json.loads(LogEntry.objects.latest("pk").change_message)["told"]["fields"]

    assert told(notes="new") == "Notes"
    assert told(notes="new", **{"arg-first": "2"}) == "first"
    assert told(notes="new", **{"arg-first": "2"}, kwargs='{"x": 3}') == "**others"
    made = row(tasks.nothing, name="plain")
    ada.client.post(f"{FORM}/{made.pk}/change/", fields(tasks.nothing, name="plain", jitter="5"))
    assert '"Jitter"' in LogEntry.objects.latest("pk").change_message


# -- another task ----------------------------------------------------------------------------------


def test_the_fields_of_another_task_are_shown_before_it_is_saved(ada: Staff) -> None:
    made = row(tasks.fail, "for a reason")
    given = fields(tasks.fail, **args(message="new")) | {"task": tasks.add.module_path}

    page = text_of(ada.client.post(f"{FORM}/{made.pk}/change/", given))

    assert "It takes other arguments: look at them below." in page
    assert (field(page, "arg-a"), has_field(page, "arg-message")) == ("", False)
    made.refresh_from_db()
    assert made.task == tasks.fail.module_path

    back = fields(tasks.add, **args(a="1")) | {"task": tasks.fail.module_path, "_arguments": "1"}
    page = text_of(ada.client.post(f"{FORM}/{made.pk}/change/", back))
    assert field(page, "arg-message") == "for a reason"


def test_a_secret_is_kept_when_it_is_left_empty_and_goes_to_no_other_task(ada: Staff) -> None:
    made = row(sync, "corner", key="hunter2")
    url = f"{FORM}/{made.pk}/change/"
    page = text_of(ada.client.get(url))
    assert "hunter2" not in page
    assert field(page, "arg-key") == ""
    assert "Leave it empty to keep it." in page

    ada.client.post(url, fields(sync, **args(shop="harbour", key="")))
    assert called() == (["harbour"], {"key": "hunter2"})
    ada.client.post(url, fields(sync, **args(shop="harbour", key="hunter3")))
    assert called() == (["harbour"], {"key": "hunter3"})

    ada.client.post(url, fields(other, **args(key="", shop="harbour")))
    assert called() == ([], {"shop": "harbour"})


@pytest.mark.parametrize("literal", [HIDDEN, f'"{HIDDEN}"'])
def test_what_stands_for_a_secret_is_none(ada: Staff, literal: str) -> None:
    page = text_of(ada.client.post(f"{FORM}/add/", fields(sync, **args(shop="x", key=literal))))

    assert "Give the sensitive value" in page
    assert not Schedule.objects.exists()


def test_a_list_that_became_shorter_gets_no_secret_back(ada: Staff) -> None:
    """Which of them were taken out nobody can say."""
    made = row(vault, "one", "two", "three")
    url = f"{FORM}/{made.pk}/change/"
    assert json.loads(field(text_of(ada.client.get(url)), "args")) == [HIDDEN] * 3

    page = text_of(ada.client.post(url, fields(vault, args=json.dumps([HIDDEN] * 2))))
    assert "Give the sensitive value" in page
    assert called() == (["one", "two", "three"], {})

    ada.client.post(url, fields(vault, args=json.dumps([HIDDEN, "new", HIDDEN])))
    assert called() == (["one", "new", "three"], {})
    ada.client.post(url, fields(vault, args='["four"]'))
    assert called() == (["four"], {})


# -- what does not fit -----------------------------------------------------------------------------


def test_what_does_not_fit_the_signature_is_json_until_it_does(ada: Staff) -> None:
    made = row(tasks.add, 1, 2, 3)
    url = f"{FORM}/{made.pk}/change/"
    page = text_of(ada.client.get(url))
    assert "These do not fit what the task takes" in page
    assert field(page, "args") == "[1, 2, 3]"
    assert not has_field(page, "arg-a")

    given = fields(tasks.add)
    del given["arguments_of"]
    page = text_of(ada.client.post(url, given | {"args": "[1, 2, 3]", "kwargs": "{}"}))
    assert "takes at most 2 positional arguments" in page
    given |= {"args": "[1]", "kwargs": '{"b": 2}'}
    page = text_of(ada.client.post(url, given | {"_arguments": "1"}))
    assert (field(page, "arg-a"), field(page, "arg-b")) == ("1", "2")
    assert called() == ([1, 2, 3], {})

    ada.client.post(url, fields(tasks.add, **args(a="4", b="2")))
    assert called() == ([], {"a": 4, "b": 2})


@pytest.mark.parametrize(
    ("given", "stays"),
    [
        (([], {"a": 1, "token": "s3cret", "gone": 2}), ([], {"a": 1, "token": "s3cret"})),
        (([1, "s3cret", 2], {}), ([], {"a": 1, "token": "s3cret"})),
        (([], {"a": 1, "gone": 2}), ([], {"a": 1})),
    ],
)
def test_a_secret_stays_when_json_becomes_fields(ada: Staff, given: Any, stays: Any) -> None:
    made = row(optional, *given[0], **given[1])
    url = f"{FORM}/{made.pk}/change/"
    assert "These do not fit" in text_of(ada.client.get(url))
    sent = fields(optional, args="[]", kwargs='{"a": 1}', _arguments="1")
    del sent["arguments_of"]

    page = text_of(ada.client.post(url, sent))

    assert (field(page, "arg-a"), field(page, "arg-token")) == ("1", "")
    assert ("Leave it empty to keep it." in page) is ("s3cret" in repr(given))
    assert "s3cret" not in page
    ada.client.post(url, fields(optional, **args(a="1", token="")))
    assert called() == stays


def test_a_value_of_another_type_than_its_annotation_is_json(ada: Staff) -> None:
    made = row(tasks.fail, 5)
    page = text_of(ada.client.get(f"{FORM}/{made.pk}/change/"))
    assert field(page, "arg-message") == "5"

    ada.client.post(f"{FORM}/{made.pk}/change/", fields(tasks.fail, **args(message="5")))

    assert called() == ([5], {})


@pytest.mark.parametrize(
    "odd", ["[" * 100_000, "[" + "1" * 5_000 + "]", '["\\ud800"]', "[" * 900 + "]" * 900]
)
def test_odd_json_is_shown_again_as_it_was_typed(ada: Staff, odd: str) -> None:
    given = fields(tasks.add, args=odd, kwargs="{}", _arguments="1")
    del given["arguments_of"]

    assert field(text_of(ada.client.post(f"{FORM}/add/", given)), "args") == odd


def test_a_row_whose_task_is_gone_keeps_its_arguments_to_itself(ada: Staff) -> None:
    made = row(sync, "hunter2")
    Schedule.objects.update(task="shop.gone")
    url = f"{FORM}/{made.pk}/change/"
    page = text_of(ada.client.get(url))
    assert "hunter2" not in page
    assert field(page, "args") == f'["{HIDDEN}"]'

    given = fields(tasks.fail, args=f'["{HIDDEN}"]', kwargs="{}")
    del given["arguments_of"]
    page = text_of(ada.client.post(url, given))
    assert "Give the sensitive value" in page


# -- copies ----------------------------------------------------------------------------------------


def test_a_copy_begins_with_everything_and_a_free_name(ada: Staff) -> None:
    row(sync, "corner", "hunter2", copies=3)
    Schedule(name="stock-2", task=tasks.nothing.module_path, expression="@daily").save()
    seen = ada.sees("schedule/stock/change/")
    assert f'href="{FORM}/add/?copy=stock"' in seen

    page = text_of(ada.client.get(f"{FORM}/add/?copy=stock"))

    assert 'value="stock-3"' in page
    assert 'value="30 2 * * *"' in page
    assert (field(page, "arg-shop"), field(page, "arg-copies")) == ("corner", "3")
    assert "hunter2" not in page
    given = fields(sync, name="stock-3", **args(shop="harbour", key="", copies="3"))
    ada.client.post(f"{FORM}/add/?copy=stock", given)
    assert called("stock-3") == (["harbour", "hunter2"], {"copies": 3})
    assert called("stock") == (["corner", "hunter2"], {"copies": 3})


def test_a_copy_is_quick_to_ask_for_and_may_have_to_be_named(staff: Any) -> None:
    row(sync, "corner", "hunter2")
    eve = staff("eve", "view_taskq", "view_args", "add_schedule")

    with CaptureQueriesContext(connection) as queries:
        page = text_of(eve.client.get(f"{FORM}/add/?copy=stock"))

    asked = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(asked) <= 5, asked
    assert 'value="stock-2"' in page
    for number in range(2, 60):
        row(tasks.nothing, name=f"stock-{number}")
    page = text_of(eve.client.get(f"{FORM}/add/?copy=stock"))
    assert re.search(r'<input type="text" name="name"(?! value)[^>]*>', page)
    assert field(page, "arg-shop") == "corner"


def test_a_copy_of_one_in_code_has_the_options_that_are_said_there(ada: Staff) -> None:
    periodic("@daily", name="by code", args=[1], queue_name="low", priority=7)(tasks.add)

    page = text_of(ada.client.get(f"{FORM}/add/?copy=by%20code"))

    assert 'value="by code-2"' in page
    assert '<input type="text" name="queue_name" value="low"' in page
    assert '<input type="number" name="priority" value="7"' in page
    assert field(page, "arg-a") == "1"


@pytest.mark.parametrize("address", ["?copy=tokyo", "?of=tokyo"])
def test_a_copy_of_one_in_code_begins_and_ends_when_it_does(ada: Staff, address: str) -> None:
    """A naive start in code is in the schedule's zone; a form is in the reader's."""
    start, end = datetime(2027, 1, 1, 9), datetime(2027, 2, 1, tzinfo=UTC)
    periodic("@daily", name="tokyo", tz="Asia/Tokyo", args=[1], start=start, end=end)(tasks.add)

    with timezone.override("Europe/Berlin"):
        page = text_of(ada.client.get(f"{FORM}/add/{address}"))

    assert 'name="start" value="2027-01-01T01:00:00"' in page
    assert 'name="end" value="2027-02-01T01:00:00"' in page
    shown = ada.sees("schedule/tokyo/change/")
    assert '<time datetime="2027-01-01T09:00:00+09:00">' in shown
    assert '<time datetime="2027-02-01T09:00:00+09:00">' in shown


def test_a_copy_needs_the_right_to_add(staff: Any) -> None:
    from django_taskq.admin import rights

    row(tasks.add, 1)
    eve = staff("eve", rights.VIEW, rights.VIEW_ARGS, "change_schedule")

    assert "?copy=" not in eve.sees("schedule/stock/change/")
    assert eve.client.get(f"{FORM}/add/?copy=stock").status_code == 403


def test_a_copy_of_nothing_is_an_empty_form(ada: Staff) -> None:
    page = text_of(ada.client.get(f"{FORM}/add/?copy=nowhere"))

    assert "Choose a task" in page


@pytest.mark.parametrize("address", ["copy=%00", "of=%00"])
def test_no_database_is_asked_for_a_name_that_it_may_refuse(ada: Staff, address: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        page = text_of(ada.client.get(f"{FORM}/add/?{address}"))

    assert "Choose a task" in page
    assert not [each for each in queries if 'FROM "taskq_schedules_schedule"' in each["sql"]]


def test_one_before_code_is_filled_with_what_code_says(ada: Staff) -> None:
    page = text_of(ada.client.get(f"{FORM}/add/?of=nightly"))
    assert field(page, "arg-message") == "for a reason"

    given = fields(tasks.fail, name="nightly", **args(message="another"))
    ada.client.post(f"{FORM}/add/?of=nightly", given)

    assert called("nightly") == (["another"], {})
    assert isinstance(Schedule.objects.get().declaration(), Declaration)
