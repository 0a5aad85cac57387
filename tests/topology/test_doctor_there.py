"""The operator's commands on a Cluster, whose queues lie on several nodes."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import call_command

from django_taskq.compat import task_backends
from tests.processes.app import tasks
from tests.topology.conftest import QUEUES, Stationed
from tests.topology.servers import Cluster


def asked(*words: str) -> tuple[Any, Any]:
    """The exit code of a command, and what it printed as JSON."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("taskq", *words, "--json", stdout=out)
    return left.value.code, json.loads(out.getvalue())


def test_queues_of_a_cluster_are_examined_and_mended(cluster: Cluster, at: Stationed) -> None:
    at(cluster.url)
    broker = task_backends["default"].broker
    lost = [tasks.add.using(queue_name=queue).enqueue(1, 2) for queue in QUEUES]
    kept = [tasks.add.using(queue_name=queue).enqueue(3, 4) for queue in QUEUES]
    for queue, result in zip(QUEUES, lost, strict=True):
        broker.server.command("ZREM", broker.key(queue, "ready"), result.id)

    code, report = asked("doctor")
    found = {each["queue"] for each in report["findings"] if each["name"] == "lost"}
    assert (code, found) == (1, set(QUEUES))
    asked("doctor", "--fix")

    _, report = asked("doctor")
    assert [each for each in report["findings"] if each["name"] == "lost"] == []
    _, rows = asked("queues")
    assert {row["queue"]: row["ready"] for row in rows} == dict.fromkeys(QUEUES, 2)
    _, totals = asked("stats")
    assert (totals["ready"], totals["bytes"] > 0) == (6, True)
    assert kept[0].cancel()
    assert kept[0].retry()
