"""``taskq schedules``: what runs by the clock, when it ran and will, and orders about it."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from ...exceptions import BrokerError, DuplicateJob
from ...timetable import Timetable, moment
from . import _doctor, _output, _worker

HELP = (
    "The schedules with their last and next run. `run`, `pause`, `resume`, `skip` (the next run) "
    "and `history` take the name of one."
)
SHOWN = ("name", "expression", "tz", "queue", "source", "state", "last", "next")


def add_arguments(parser: ArgumentParser) -> None:
    """An order and a name, or neither."""
    parser.add_argument("order", nargs="?", choices=["list", *ORDERS], default="list")
    parser.add_argument("name", nargs="?", help="of the schedule that is meant")
    _doctor.add_reading(parser)


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Prints or does it. Raises CommandError for what cannot be."""
    table = _worker.backend_of(options["backend"]).timetable
    order, name = options["order"], options["name"]
    if (order == "list") is not (name is None):
        raise CommandError(f"{order}: {'takes no name' if name else 'say the name of a schedule'}")
    try:
        said = (
            listed(table, options["json"]) if name is None else ORDERS[order](table, name, options)
        )
    except (BrokerError, DuplicateJob, DatabaseError) as error:
        raise CommandError(str(error)) from error
    except LookupError as error:
        raise CommandError(str(error.args[0])) from error
    command.stdout.write(said)
    return 0


def listed(table: Timetable, as_json: bool) -> str:
    """A row per schedule."""
    rows = [status._asdict() for status in table.all()]
    for row in rows:
        row["state"] = state_of(row)
    if as_json:
        return _output.as_json(rows)
    shown = [{name: in_short(row[name]) for name in SHOWN} for row in rows]
    return _output.columns(shown) or "There are none."


def state_of(row: dict[str, Any]) -> str:
    """In a word; or why it is not run."""
    if row["problem"]:
        return f"not run: {row['problem']}"
    if not row["enabled"]:
        return "disabled"
    if row["paused"]:
        return "paused"
    return "skips next" if row["skips_next"] else "on"


def in_short(value: Any) -> str:
    """A cell: times in UTC, to the second."""
    if value is None:
        return "-"
    return f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "strftime") else str(value)


def run_now(table: Timetable, name: str, options: dict[str, Any]) -> str:
    """``run NAME``"""
    id = table.run(name).id
    return _output.as_json({"id": id}) if options["json"] else f"Enqueued as {id}."


def steered(order: Callable[[Timetable, str], bool], done: str) -> Callable[..., str]:
    """``pause NAME`` and the like."""

    def carry_out(table: Timetable, name: str, options: dict[str, Any]) -> str:
        changed = order(table, name)
        if options["json"]:
            return _output.as_json({"changed": changed})
        return f"{name} {done}." if changed else f"{name}: that was so before."

    return carry_out


def history(table: Timetable, name: str, options: dict[str, Any]) -> str:
    """``history NAME``"""
    rows = [
        {
            "due": moment(entry.due),
            "at": moment(entry.at),
            "outcome": entry.outcome,
            "detail": entry.detail,
        }
        for entry in table.history(name)
    ]
    if options["json"]:
        return _output.as_json(rows)
    shown = [{key: in_short(value) for key, value in row.items()} for row in rows]
    return _output.columns(shown) or "It has not been due yet."


ORDERS: dict[str, Callable[[Timetable, str, dict[str, Any]], str]] = {
    "run": run_now,
    "pause": steered(Timetable.pause, "is paused"),
    "resume": steered(Timetable.resume, "goes on"),
    "skip": steered(Timetable.skip, "leaves its next run out"),
    "history": history,
}
