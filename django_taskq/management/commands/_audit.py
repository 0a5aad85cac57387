"""``taskq audit``: who did what."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...broker.audit import Audit
from ...clock import to_datetime
from ...exceptions import BrokerError
from . import _doctor, _output, _worker

HELP = "Who did what to jobs, queues, schedules and workers, the newest first."
MOST = 10_000


def add_arguments(parser: ArgumentParser) -> None:
    """How many, and the options of every read."""
    parser.add_argument(
        "--number", type=number, default=50, metavar="N", help="lines to show (%(default)s)"
    )
    _doctor.add_reading(parser)


def number(text: str) -> int:
    """A number of lines. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST:
        raise ArgumentTypeError(f"{text!r}: say a number from 1 to {MOST:,}")
    return int(text)


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Prints the lines. Raises CommandError when Redis is away."""
    try:
        lines = Audit(_worker.backend_of(options["backend"]).broker).read(options["number"])
    except BrokerError as error:
        raise CommandError(str(error)) from error
    rows = [
        {
            "at": to_datetime(line.at),
            "by": line.deed.by,
            "verb": line.deed.verb,
            "kind": line.deed.kind,
            "things": line.deed.things,
            "count": line.deed.count,
            "told": line.deed.told,
            "outcome": line.deed.outcome,
        }
        for line in lines
    ]
    if options["json"]:
        command.stdout.write(_output.as_json(rows))
    else:
        command.stdout.write(_output.columns([short(row) for row in rows]) or "There is nothing.")
    return 0


def short(row: Mapping[str, Any]) -> dict[str, str]:
    """A row for a person, times in UTC."""
    things, more = row["things"][:1], row["count"] - 1
    return {
        "at": f"{row['at']:%Y-%m-%d %H:%M:%S}",
        "by": row["by"],
        "verb": row["verb"],
        "to": f"{row['kind']} {' '.join(things)}" + (f" + {more:,}" if more > 0 else ""),
        "told": said(row["told"]),
        "outcome": said(row["outcome"]),
    }


def said(values: Mapping[str, Any]) -> str:
    """``a=1 b=2`` of what is not empty."""
    return " ".join(f"{name}={value}" for name, value in values.items() if value)
