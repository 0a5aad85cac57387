"""What the dashboard says of the server, of slow tasks, and where it leads to."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from django_taskq.admin import past, server
from django_taskq.broker.inspector import Replica, ServerState
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.support import Hand


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (ServerState(used=10, most=0, evicted=0), []),
        (ServerState(used=95, most=100), [("error", "nearly full: 95 %")]),
        (ServerState(most=100, policy="allkeys-lru"), [("error", "maxmemory-policy allkeys-lru")]),
        (ServerState(policy="allkeys-lru"), []),
        (ServerState(evicted=1), [("error", "thrown 1 key away")]),
        (ServerState(evicted=7), [("error", "thrown 7 keys away")]),
        (ServerState(replicas=(Replica("b:1", True, 1),)), []),
        (ServerState(replicas=(Replica("b:1", True, 10),)), [("warning", "b:1 of Redis has said")]),
        (ServerState(replicas=(Replica("b:1", False, 0),)), [("warning", "b:1 of Redis is not")]),
    ],
)
def test_the_server_says_what_needs_a_person(
    state: ServerState, said: list[tuple[str, str]]
) -> None:
    found = list(server.alerts(state, may_evict=False))

    assert [alert.level for alert in found] == [level for level, _ in said]
    assert all(text in alert.text for alert, (_, text) in zip(found, said, strict=True))


def test_where_the_settings_take_it_that_keys_vanish_the_policy_is_no_alert() -> None:
    state = ServerState(most=100, policy="allkeys-lru", evicted=3)

    assert [alert.level for alert in server.alerts(state, may_evict=True)] == ["warning"]


def test_an_alert_of_the_server_stands_on_the_dashboard(
    ada: Staff, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.nothing.enqueue()
    state = ServerState(used=1, most=2, policy="allkeys-lru")
    monkeypatch.setattr("django_taskq.broker.inspector.server.server_state", lambda reply: state)

    assert "whole queues would vanish" in ada.sees("dashboard/")


def test_the_slowest_tasks_are_those_with_the_longest_p95() -> None:
    found = {f"t{n}": Counter({f"r{n}": 20, "S": 20}) for n in range(2, 12)}
    found |= {"unmeasured": Counter(S=5), "": Counter(r20=5), "*": Counter(r20=5)}

    assert [row.name for row in past.slowest(found)] == ["t11", "t10", "t9", "t8", "t7"]


def test_the_dashboard_leads_to_the_slowest_tasks_of_its_time(ada: Staff, hand: Hand) -> None:
    tasks.add.enqueue(1)
    hand.run()

    page = ada.sees("dashboard/", period="day")

    link = "tasktype/tests.engine.tasks.add/change/?period=day"
    assert link in page.partition("Slowest tasks")[2]


def test_a_dashboard_without_a_run_has_no_slowest_task(ada: Staff, hand: Hand) -> None:
    tasks.add.enqueue(1)

    assert "Slowest tasks" not in ada.sees("dashboard/")


def test_why_a_job_does_not_run_is_a_way_to_its_page(ada: Staff, hand: Hand) -> None:
    result: Any = tasks.nothing.enqueue()
    page = ada.sees("dashboard/")
    form = page.partition("Why does a job not run?")[2].partition("</form>")[0]
    (action,) = re.findall(r'action="/admin/django_taskq/([^"]+)"', form)
    (field,) = re.findall(r'name="(\w+)"', form)

    answer = ada.get(action, **{field: result.id})

    assert answer.url.endswith(f"job/{result.id}/change/")
