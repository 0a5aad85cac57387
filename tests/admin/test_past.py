"""Charts and numbers of the past: of all queues, of one, of a task."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from django.utils.translation import override

from django_taskq.admin import past
from django_taskq.backends import RedisBackend
from django_taskq.broker.inspector import Inspector, Step
from django_taskq.broker.releases import Release, Releases
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.support import Hand

FAIL, ADD = "tests.engine.tasks.fail", "tests.engine.tasks.add"
MARCH = 1_772_323_200_000  # 2026-03-01, midnight in UTC


@pytest.fixture
def ran_some(hand: Hand) -> None:
    for number in range(3):
        tasks.add.enqueue(number, 1)
    tasks.fail.using(max_attempts=1).enqueue("x")
    hand.run()


@pytest.mark.usefixtures("ran_some")
@pytest.mark.parametrize("period", ["", "day", "week", "90-days", "nonsense"])
@pytest.mark.parametrize("page", ["dashboard/", "queue/default/change/", f"tasktype/{ADD}/change/"])
def test_what_ran_is_drawn_and_told(ada: Staff, page: str, period: str) -> None:
    text = ada.sees(page, period=period)

    drawings = re.findall(r'<svg class="tq-chart".*?</svg>', text, re.DOTALL)
    assert [name for name in ("Throughput", "Failures", "Run time") if name in text]
    assert len(drawings) >= 4
    assert all("<title" in drawing and "<desc" in drawing for drawing in drawings)
    assert 'class="tq-fill-succeeded"' in text
    assert "The same in numbers" in text
    current = re.findall(r'aria-current="true">(Hour|Day|Week|90 days)<', text)
    names = {"day": "Day", "week": "Week", "90-days": "90 days"}
    assert current == [names.get(period, "Hour")]


def test_where_nothing_ran_the_page_says_so(ada: Staff, backend: RedisBackend) -> None:
    assert "Nothing ran in this time." in ada.sees("dashboard/")


def test_a_backlog_is_drawn_although_nothing_ran(ada: Staff, backend: RedisBackend) -> None:
    tasks.add.enqueue_many([(n, 1) for n in range(12)])
    backend.broker.measure("default")

    page = ada.sees("queue/default/change/")

    assert "<figcaption>Backlog</figcaption>" in page
    assert "ready, on average: 12, 12" in page
    assert '<td class="tq-number"><bdi>12</bdi></td></tr>' in page
    assert "Backlog" not in ada.sees(f"tasktype/{ADD}/change/")


@pytest.mark.usefixtures("ran_some")
def test_a_queue_lists_its_tasks(ada: Staff) -> None:
    page = ada.sees("queue/default/change/")

    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", page, re.DOTALL)
    by_task = {row[0]: row for row in (row_of(each) for each in rows)}
    assert by_task[ADD][1:3] == ["3", "0"]
    assert by_task[FAIL][1:3] == ["1", "1 (100.0 %)"]
    assert all(time.endswith(("ms", " s")) for time in by_task[ADD][3:])


def row_of(row: str) -> list[str]:
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in cells]


@pytest.mark.usefixtures("ran_some")
def test_the_tasks_of_the_project_are_listed_whether_or_not_they_ran(ada: Staff) -> None:
    page = ada.sees("tasktype/")

    assert f"tasktype/{ADD}/change/" in page
    assert "tasktype/tests.engine.tasks.urgent/change/" in page


def test_no_page_runs_a_task(
    ada: Staff, backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template calls what can be called, and a task can be."""
    called: list[Any] = []
    monkeypatch.setattr(type(tasks.fail), "__call__", lambda self, *args: called.append(self))

    ada.sees("tasktype/")
    ada.sees(f"tasktype/{FAIL}/change/")

    assert called == []


def test_a_task_that_nobody_knows_is_not_found(ada: Staff, backend: RedisBackend) -> None:
    assert ada.get("tasktype/no.such.task/change/").status_code == 404


@pytest.mark.usefixtures("ran_some")
def test_the_period_stays_when_the_state_is_changed(ada: Staff) -> None:
    page = ada.sees("queue/default/change/", period="week", state="dead")

    assert re.search(r'href="[^"]*\?state=ready&amp;period=week"', page)
    assert re.search(r'href="[^"]*\?period=day&amp;state=dead"', page)


@pytest.mark.usefixtures("ran_some")
def test_a_reader_gets_the_charts_in_his_language(ada: Staff) -> None:
    answer = ada.client.get("/admin/django_taskq/dashboard/", headers={"accept-language": "de"})

    page = answer.content.decode()
    assert "Durchsatz" in page
    assert "Wartezeit bis zum ersten Start" in page


def test_a_name_from_outside_is_text(ada: Staff, hand: Hand) -> None:
    tasks.add.enqueue(1, 1)
    hand.run()
    evil = "<script>alert(1)</script>"
    counts = hand.broker.key("default", "counting")
    hand.broker.server.command("HSET", counts, f"S {evil}", 3)

    page = ada.sees("queue/default/change/") + ada.sees("tasktype/")

    assert "<script>alert" not in page
    assert "alert(1)" in page


@pytest.mark.usefixtures("ran_some")
@pytest.mark.parametrize("page", ["dashboard/", "queue/default/change/", f"tasktype/{ADD}/change/"])
def test_a_release_is_a_line_in_every_chart_and_named_below(
    ada: Staff, backend: RedisBackend, page: str
) -> None:
    Releases(backend.broker).mark("4f2a<91c>")

    text = ada.sees(page)

    said = re.escape("Release 4f2a&lt;91c&gt; since ") + r"\d\d:\d\d"
    drawings = re.findall(r'<svg class="tq-chart".*?</svg>', text, re.DOTALL)
    over_time = [drawing for drawing in drawings if 'viewBox="0 0 400' in drawing]
    assert len(over_time) >= 4
    assert all(len(re.findall(f"<title>{said}</title>", drawing)) == 1 for drawing in over_time)
    assert len(re.findall(f"<li><bdi>{said}</bdi></li>", text)) == 1


def test_only_releases_of_the_period_are_marked_the_newest_named_first() -> None:
    hour = past.PERIODS[0]
    steps = [Step(MARCH + number * 60_000, Counter(S=1)) for number in range(60)]
    old, first, future = (
        Release("old", MARCH - 1),
        Release("first", MARCH),
        Release("future", MARCH + 3_600_000),
    )
    many = [Release(f"r{number}", MARCH + 60_000 * number) for number in range(1, 20)]

    found = past.context(hour, steps, [old, first, *many, future])

    assert "old" not in str(found["releases"]) + str(found["charts"])
    assert "future" not in str(found["releases"]) + str(found["charts"])
    assert found["releases"][0].startswith("Release r19 since ")
    assert (len(found["releases"]), found["more_releases"]) == (past.MOST_RELEASES, 8)
    assert str(found["charts"][0].drawing).count('class="tq-mark"') == 20


# -- parts -----------------------------------------------------------------------------------------


def test_steps_are_named_in_the_readers_zone_and_days_in_utc() -> None:
    hour, day, _, quarter = past.PERIODS
    with override_settings(TIME_ZONE="America/New_York"), override("en"):
        from django.utils import timezone

        with timezone.override("America/New_York"):
            assert past.named(MARCH, hour) == "19:00"
            assert past.named(MARCH, day) == "Sat 19:00"
            assert past.named(MARCH, quarter) == "1 Mar"


def test_the_numbers_are_the_newest_first_without_empty_steps() -> None:
    steps = [Step(1, Counter(S=1)), Step(2, Counter()), Step(3, Counter(D=2, r10=1))]

    rows = past.numbers(["one", "two", "three"], steps)

    assert [row[:5] for row in rows] == [("three", 0, 0, 2, 0), ("one", 1, 0, 0, 0)]
    assert rows[1][5:] == ("–", "–", "–", "–")


def test_the_busiest_task_is_first_and_what_is_no_task_last() -> None:
    found = {"*": Counter(S=99), "": Counter(K=9), "a": Counter(S=1), "b": Counter(S=2, w1=7)}

    rows = past.task_rows(found)

    assert [row.name for row in rows] == ["b", "a", "*", ""]
    assert rows[0].attempts == 2
    assert (rows[3].failed, rows[3].share) == (9, 100)


def test_a_look_over_all_queues_is_one_round_trip(ran_some: None, backend: RedisBackend) -> None:
    from tests.engine.support import round_trips

    inspector = Inspector(backend.broker)
    names = backend.broker.queues()
    looks = (past.PERIODS[0].look, past.PERIODS[0].by_task)
    with round_trips() as trips:
        overview, (steps, by_task), _ = inspector.overview_with_past(names, *looks)

    assert len(trips) == 1
    assert len(overview) == len(steps) == len(by_task) == len(names)


def test_the_benchmark_looks_at_periods_that_there_are() -> None:
    text = (Path(__file__).parents[2] / "benchmarks" / "pages.py").read_text()
    named = set(re.findall(r"period=([\w-]+)", text))
    assert named
    assert named <= {period.name for period in past.PERIODS}
