"""``taskq schedules``: what runs by the clock, when it ran and will, and orders about it."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from ...cron import seconds_of
from ...exceptions import BrokerError, DuplicateJob, InvalidOption
from ...timetable import Timetable, moment
from . import _deeds, _doctor, _output, _worker

HELP = (
    "The schedules with their last and next run. `run`, `pause`, `resume`, `skip` (the next run) "
    "and `history` take the name of one; a pause may end by itself (`--for 1h`), and says `--why`."
)
SHOWN = ("name", "expression", "tz", "queue", "source", "state", "last", "next")


def add_arguments(parser: ArgumentParser) -> None:
    """An order and a name, or neither."""
    parser.add_argument("order", nargs="?", choices=["list", *ORDERS], default="list")
    parser.add_argument("name", nargs="?", help="of the schedule that is meant")
    parser.add_argument(
        "--for",
        dest="duration",
        type=duration,
        metavar="1h30m",
        help="how long a pause lasts; without it until `resume`",
    )
    parser.add_argument("--why", default="", help="the reason of a pause, which everybody sees")
    _doctor.add_reading(parser)


def duration(text: str) -> float:
    """The seconds of ``1h30m``. Raises ArgumentTypeError."""
    seconds = seconds_of(text.casefold())
    if not seconds:
        raise ArgumentTypeError(f"{text!r} is no length of time, such as 90s, 15m, 1h30m or 1d")
    return seconds


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Prints or does it. Raises CommandError for what cannot be."""
    table = _worker.backend_of(options["backend"]).timetable
    order, name = options["order"], options["name"]
    if (order == "list") is not (name is None):
        raise CommandError(f"{order}: {'takes no name' if name else 'say the name of a schedule'}")
    if order != "pause" and (options["duration"] or options["why"]):
        raise CommandError(f"{order}: --for and --why are of a pause")
    try:
        said = (
            listed(table, options["json"]) if name is None else ORDERS[order](table, name, options)
        )
    except (BrokerError, DuplicateJob, InvalidOption, DatabaseError) as error:
        raise CommandError(str(error)) from error
    except LookupError as error:
        raise CommandError(str(error.args[0])) from error
    if order in CHANGING:
        told = {"why": options["why"], "seconds": options["duration"]} if order == "pause" else {}
        _deeds.write_down(command, table.broker, order, "schedule", [name], told)
    command.stdout.write(said)
    return 0


def listed(table: Timetable, as_json: bool) -> str:
    """A row per schedule."""
    rows = [status._asdict() for status in table.all()]
    for row in rows:
        row["state"] = state_of(row)
    if as_json:
        return _output.as_json(rows)
    for row in rows:
        if row["state"] == "paused" and row["paused_until"]:
            row["state"] = f"paused until {in_short(row['paused_until'])}"
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


def pause(table: Timetable, name: str, options: dict[str, Any]) -> str:
    """``pause NAME``"""
    length, why = options["duration"], options["why"]
    changed = table.pause(name, length, why=why, by=_deeds.person())
    return told_of(name, "is paused", changed, options)


def steered(order: Callable[[Timetable, str], bool], done: str) -> Callable[..., str]:
    """``resume NAME`` and the like."""

    def carry_out(table: Timetable, name: str, options: dict[str, Any]) -> str:
        return told_of(name, done, order(table, name), options)

    return carry_out


def told_of(name: str, done: str, changed: bool, options: dict[str, Any]) -> str:
    """What an order came to."""
    if options["json"]:
        return _output.as_json({"changed": changed})
    return f"{name} {done}." if changed else f"{name}: that was so before."


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


CHANGING = ("run", "pause", "resume", "skip")
ORDERS: dict[str, Callable[[Timetable, str, dict[str, Any]], str]] = {
    "run": run_now,
    "pause": pause,
    "resume": steered(Timetable.resume, "goes on"),
    "skip": steered(Timetable.skip, "leaves its next run out"),
    "history": history,
}
