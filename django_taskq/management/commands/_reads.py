"""``taskq queues``, ``stats``, ``workers`` and ``limits``: what there is, read and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...broker.inspector import Inspector, QueueState
from ...exceptions import BrokerUnavailable
from . import _output, _worker

MOST_HOLDERS = 1000  # that are shown of a queue

Read = Callable[[Inspector, list[QueueState]], Any]


def run(command: BaseCommand, options: dict[str, Any], read: Read) -> int:
    """Prints what ``read`` makes of the queues. Raises CommandError when Redis is away."""
    broker = _worker.backend_of(options["backend"]).broker
    inspector = Inspector(broker)
    try:
        found = read(inspector, inspector.queues(broker.queues()))
    except BrokerUnavailable as error:
        raise CommandError(str(error)) from error
    if options["json"]:
        command.stdout.write(_output.as_json(found))
    else:
        rows = (
            [{"what": k, "how_many": v} for k, v in found.items()]
            if isinstance(found, dict)
            else found
        )
        command.stdout.write(_output.columns(rows) or "There are none.")
    return 0


def queues(inspector: Inspector, states: list[QueueState]) -> list[dict[str, Any]]:
    """A row per queue; ``waits_ms``: how long the job that goes next has been due."""
    return [
        {
            "queue": state.name,
            **{str(name): count for name, count in state.states.items()},
            "at_limits": state.at_limits,
            "waits_ms": state.waits,
            "processes": state.holders - state.lapsed,
            "paused": "yes" if state.paused else "no",
        }
        for state in states
    ]


def limits(inspector: Inspector, states: list[QueueState]) -> list[dict[str, Any]]:
    """A row per limit that is in use; ``opens_ms``: until its rate lets the next in."""
    return [
        {
            "queue": state.name,
            "limit": gate.name,
            "waiting": gate.waiting,
            "inside": gate.inside,
            "opens_ms": gate.opens,
        }
        for state in states
        for gate in inspector.gates(state.name)
    ]


def stats(inspector: Inspector, states: list[QueueState]) -> dict[str, Any]:
    """All queues together."""
    totals: dict[str, Any] = {"queues": len(states)}
    for state in states:
        for name, count in state.states.items():
            totals[str(name)] = totals.get(str(name), 0) + count
    totals["trimmed"] = sum(state.trimmed for state in states)
    totals["quarantined"] = sum(state.quarantined for state in states)
    totals["bytes"] = sum(sum(inspector.weights(state.name).values()) for state in states)
    return totals


def workers(inspector: Inspector, states: list[QueueState]) -> list[dict[str, Any]]:
    """A row per process that holds a lease; ``lease_ms``: until the first of its leases ends."""
    found: dict[str, dict[str, Any]] = {}
    for state in states:
        for holder in islice(inspector.holders(state.name), MOST_HOLDERS):
            row = found.setdefault(
                holder.id, {"process": holder.id, "lease_ms": holder.left, "queues": ""}
            )
            row["lease_ms"] = min(row["lease_ms"], holder.left)
            row["queues"] = ",".join(filter(None, [row["queues"], state.name]))
    return list(found.values())
