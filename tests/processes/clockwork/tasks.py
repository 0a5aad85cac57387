"""Tasks that run by the clock; an app of its own, so that only some tests have them."""

from __future__ import annotations

from typing import Any

from django_taskq import periodic, task
from tests.processes.app.tasks import trace


@periodic("@every 1s", tz="UTC", overlap="queue", catch_up="all", name="second")
@task(takes_context=True)
def tick(context: Any) -> None:
    trace(f"tick {context.task_result.id}")


@periodic("@every 1s", tz="UTC", overlap="queue", catch_up="skip", name="skip", queue_name="low")
@periodic("@every 1s", tz="UTC", overlap="queue", catch_up="one", name="one", queue_name="low")
@task
def quiet() -> None: ...
