"""Tasks of the jobs that earlier releases left behind. None is ever taken away or changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django_taskq import task


@dataclass
class Point:
    x: int
    y: int


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task
def typed(
    day: date, span: timedelta, price: Decimal, key: UUID, point: Point, names: set[str]
) -> list[Any]:
    return [day.year, span.days, str(price), str(key), point.x + point.y, sorted(names)]


@task(takes_context=True, max_attempts=3, backoff=60)
def flaky(context: Any, name: str) -> str:
    if context.attempt == 1:
        raise ValueError(name)
    return f"{name} at attempt {context.attempt} after {len(context.task_result.errors)}"


@task(max_attempts=1)
def broken(name: str) -> None:
    raise ValueError(name)


@task(aliases=["tests.releases.tasks.under_its_old_name"])
def renamed(a: int) -> int:
    return a


@task
def came_later(a: int) -> int:
    """Was not known to the worker that met its job first."""
    return a
