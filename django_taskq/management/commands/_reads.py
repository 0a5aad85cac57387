"""``taskq queues``, ``stats`` and ``workers``: what there is, read and nothing else."""

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
    show(command, found, as_json=options["json"])
    return 0


def show(command: BaseCommand, found: Any, *, as_json: bool) -> None:
    """Prints rows, or names and numbers."""
    if as_json:
        command.stdout.write(_output.as_json(found))
        return
    if isinstance(found, dict):
        found = [{"what": name, "how_many": number} for name, number in found.items()]
    command.stdout.write(_output.columns(found) or "There are none.")


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
