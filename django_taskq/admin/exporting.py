"""Lists as files: CSV for a spreadsheet, JSON for a program."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from django.http import HttpResponse, StreamingHttpResponse

from ..clock import to_datetime
from ..showing import Summary

MOST = 500  # jobs of a file
Answer = TypeVar("Answer", HttpResponse, StreamingHttpResponse)
KINDS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
TIMES = ("enqueued", "started", "ended", "due")
COLUMNS = (
    *("id", "task", "queue", "state", "priority", "attempts", "max_attempts", "failures"),
    *TIMES,
    "exception",
)
CARRIED = ("message", "arguments")  # for those alone who may see arguments
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would work out


def export(jobs: Sequence[Summary], kind: str, *, with_args: bool) -> HttpResponse:
    """The file of a list of jobs. Times are in UTC, empty for none."""
    names = COLUMNS + CARRIED if with_args else COLUMNS
    rows = ({name: value_of(job, name) for name in names} for job in jobs)
    return named(HttpResponse(lines(names, rows, kind)), "jobs", kind)


def named(answer: Answer, name: str, kind: str) -> Answer:
    """The answer as a file that a browser saves."""
    answer["Content-Type"] = KINDS[kind]
    answer["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    return answer


def lines(names: Sequence[str], rows: Iterable[Mapping[str, Any]], kind: str) -> Iterator[str]:
    """The file, row by row: whoever sends it need not have it whole."""
    if kind == "json":
        yield "["
        for at, row in enumerate(rows):
            yield ("," if at else "") + "\n" + json.dumps(row, ensure_ascii=False)
        yield "\n]\n"
        return
    table = csv.DictWriter(Passing(), names)
    yield table.writeheader()
    for row in rows:
        yield table.writerow({name: cell(value) for name, value in row.items()})


class Passing:
    """A file that hands on what is written into it, as csv returns that."""

    def write(self, text: str) -> str:
        return text


def value_of(job: Summary, name: str) -> Any:
    """A value that JSON takes."""
    value = getattr(job, name)
    if name in TIMES:
        moment = to_datetime(value)
        return moment.isoformat() if moment else None
    return str(value) if name == "state" else value


def cell(value: Any) -> Any:
    """A value in a spreadsheet, where no text is a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
