"""The tasks that the tests of this folder declare, enqueue and run."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django_taskq import Cancel, Fail, Retry, Snooze, Unique, log, task, track
from django_taskq.compat import NATIVE

if NATIVE:
    from django.tasks import task as django_task
else:
    from django_tasks import task as django_task

RAN: list[Any] = []  # what ran in this process, for tests that look


@task
def add(a: int, b: int = 0) -> int:
    RAN.append(("add", a, b))
    return a + b


@task
def nothing() -> None:
    pass


@task(priority=5, queue_name="critical", max_attempts=2, tags=["mail"], backoff=0)
def urgent(name: str) -> str:
    return name


@task
async def aadd(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@dataclass
class Point:
    x: int
    y: int


@task
def typed(day: date, span: timedelta, price: Decimal, key: UUID, point: Point) -> date:
    RAN.append((day, span, price, key, point))
    return day


@task(takes_context=True, max_attempts=3, backoff=0)
def contextual(context: Any, fail_first: bool = False) -> list[Any]:
    if fail_first and context.attempt == 1:
        raise ValueError("the first attempt")
    result = context.task_result
    return [context.attempt, result.id, [error.exception_class_path for error in result.errors]]


@task(max_attempts=3, backoff=7, give_up_on=(KeyError,), retry_on=(LookupError, OSError))
def choosy(name: str) -> None:
    raise {"key": KeyError, "index": IndexError, "os": OSError, "value": ValueError}[name](name)


def refuse(attempt: int, error: BaseException | None) -> float:
    """A retry rule that must not be asked."""
    raise AssertionError("it was asked")


@task(max_attempts=2, backoff=refuse)
def ruled(point: Point) -> None:
    """Its argument is made by code of the project's, too."""


@task(max_attempts=2, backoff=0)
def fail(message: str = "no") -> None:
    raise ValueError(message)


@task
async def afail() -> None:
    raise ValueError("no")


@task(max_attempts=5)
def control(kind: str) -> None:
    raise {
        "retry": Retry("again", after=timedelta(seconds=90)),
        "fail": Fail("no use"),
        "cancel": Cancel("no need"),
        "snooze": Snooze(30),
    }[kind]


@task
def interrupt() -> None:
    raise KeyboardInterrupt


@task
def leave() -> None:
    raise SystemExit(3)


@task
def opaque() -> object:
    RAN.append("opaque")
    return threading.Lock()


@task
def large() -> str:
    return "x" * 5000


@task(aliases=["tests.engine.tasks.renamed_long_ago"])
def renamed(a: int) -> int:
    return a


@task(on_commit=False)
def hasty(n: int) -> int:
    return n


@task(on_commit="second")
def bound_to_second(n: int) -> int:
    return n


@django_task
def plain(a: int) -> int:
    return a * 2


@django_task
async def aplain(a: int) -> int:
    return a * 2


def undeclared(a: int) -> int:
    """For tests that declare it as a task of a backend of theirs."""
    return a * 3


# --- locks, limits and turns ----------------------------------------------------------------------


@task(unique="until_finished", retention=60)
def once(a: int, b: int = 0) -> int:
    RAN.append(("once", a, b))
    return a + b


@task(unique="until_started")
def once_waiting(a: int) -> int:
    return a


@task(unique=Unique("index:{document}", until="started", on_conflict="replace"))
def index(document: int, text: str) -> str:
    RAN.append(("index", document, text))
    return text


@task(unique=Unique("index:{document}", until="started", on_conflict="replace"))
def reindex(document: int) -> str:
    return f"all of {document}"


@task(unique=Unique("index:{document}", on_conflict="replace"), max_attempts=3)
def index_to_the_end(document: int, text: str, fail: bool = False) -> str:
    if fail:
        raise ValueError(text)
    return text


@task(unique=Unique(on_conflict="raise"))
def only(a: int) -> int:
    return a


@task(unique=Unique(lambda user, **kwargs: user["id"]))
def by_function(user: dict[str, int], note: str = "") -> int:
    return user["id"]


ROWS: dict[int, Any] = {}  # as a project's table, which a key is looked up in


@task(concurrency_limit=1, limit_key=lambda pk: ROWS[pk])
def of_row(pk: int) -> int:
    return pk


@task(unique=3600, retention=0)
def hourly(a: int) -> int:
    return a


@task(concurrency_limit=2)
def narrow(n: int) -> int:
    return n


@task(rate_limit="60/m")
def slow(n: int) -> int:
    return n


@task(concurrency_limit=1, limit_key="tenant:{tenant}")
def of_tenant(tenant: int, n: int) -> int:
    return n


@task(concurrency_limit=1, limit_key="tenant:{tenant}")
def also_of_tenant(tenant: int, n: int) -> int:
    return n


@task(fair_by="tenant", fair_weights={"gold": 3})
def fair(tenant: str, n: int) -> str:
    return f"{tenant}{n}"


@task(unique="until_finished")
def lonely() -> None:
    pass


@task
def talk(items: int, logger: str = "") -> None:
    log("begins")
    for _ in track(range(items), message="items"):
        pass
    if logger:
        logging.getLogger(logger).info("said by a logger")
    log("ends")
