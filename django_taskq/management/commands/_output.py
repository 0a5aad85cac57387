"""How the operator's commands speak: lines, columns, JSON, and a progress bar on a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ...codec import printable
from ...doctor import Progress, silent


def as_json(value: Any) -> str:
    """For programs: what a person reads may change, these names do not."""
    return json.dumps(value, indent=2, default=str)


def columns(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under the names of their fields; numbers to the right."""
    if not rows:
        return ""
    table = [[name.replace("_", " ") for name in rows[0]]]
    table += [[shown(value) for value in row.values()] for row in rows]
    fields = zip(*(row.values() for row in rows), strict=True)
    right = [any(isinstance(value, int | float) for value in field) for field in fields]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in table
    )


def shown(value: Any) -> str:
    """A value for a person; "" for none."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else printable(value)


def progress_on(stream: Any) -> Progress:
    """A progress bar, if the stream is a terminal and rich (extra ``cli``) is there."""
    if not stream.isatty():
        return silent
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ImportError:
        return silent

    @contextmanager
    def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
        looks = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*looks, console=Console(file=stream), transient=True) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.advance(task, done)

    return bar
