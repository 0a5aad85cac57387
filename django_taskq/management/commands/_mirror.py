"""``taskq mirror``: has rows of jobs written, anew, or no more; and says how far they are."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from ...backends import RedisBackend
from ...broker.inspector import Inspector
from ...broker.listening import Listener, audience
from ...clock import monotonic
from ...exceptions import BrokerUnavailable
from ...job import new_id
from ...mirror.process import APP, parts_of
from . import _doctor, _output, _worker

HELP = (
    "Writes rows of jobs into the database, as every worker does where django_taskq.mirror is "
    "installed; runs until it is stopped."
)
NAME = "mirror"
LOOK = 0.5  # seconds between two looks at what another does


def add_arguments(parser: ArgumentParser) -> None:
    """The mirror's options."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--once", action="store_true", help="leave when there is nothing more to write"
    )
    what.add_argument(
        "--resync", action="store_true", help="look through all jobs and all rows, and leave"
    )
    what.add_argument(
        "--prune", action="store_true", help="delete rows that are too old or too many"
    )
    what.add_argument("--status", action="store_true", help="say how far it has come, per queue")
    what.add_argument(
        "--forget",
        action="store_true",
        help="no rows any more: without it, Redis goes on noting changes after the app was removed",
    )
    _doctor.add_reading(parser)


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Does it. Raises CommandError when Redis is away."""
    backend = _worker.backend_of(options["backend"])
    try:
        if options["status"]:
            return status(command, backend, as_json=options["json"])
        if options["forget"]:
            return forget(command, backend)
        if not apps.is_installed(APP):
            raise CommandError(f"add {APP!r} to INSTALLED_APPS and run `manage.py migrate`")
        mirror, pruning = parts_of(backend.alias)
        if options["prune"]:
            pruning.finish()
        elif options["once"]:
            mirror.finish()
        elif options["resync"]:
            resync(command, backend, mirror)
        else:
            stay(mirror, pruning)
    except BrokerUnavailable as error:
        raise CommandError(str(error)) from error
    return 0


def stay(*services: Any) -> None:
    """Until it is interrupted."""
    try:
        while True:
            for service in services:
                service.run(monotonic())
            time.sleep(max(min(service.due for service in services) - monotonic(), 0.0))
    except KeyboardInterrupt:
        return


def status(command: BaseCommand, backend: RedisBackend, *, as_json: bool) -> int:
    """A row per queue; ``behind_ms``: since the last change that is in the rows."""
    rows = []
    for queue in backend.broker.queues():
        found = audience(backend.broker, queue)
        mirror = next((each for each in found.hearers if each.name == NAME), None)
        behind = found.now - mirror.upto if mirror and found.entries > 1 else 0
        rows.append(
            {
                "queue": queue,
                "registered": "yes" if mirror else "no",
                "complete": "yes" if mirror and mirror.knows else "no",
                "reader": mirror.reader if mirror and mirror.left else "",
                "entries": max(found.entries - 1, 0),
                "behind_ms": max(behind, 0),
                "cuts": found.cuts,
            }
        )
    command.stdout.write(_output.as_json(rows) if as_json else _output.columns(rows) or "none")
    return 0


def forget(command: BaseCommand, backend: RedisBackend) -> int:
    """Takes the mirror off the listeners of every queue. A worker that has it puts it back."""
    for queue in backend.broker.queues():
        Listener(backend.broker, NAME, new_id()).forget(queue)
    command.stdout.write("Changes are noted for the mirror no more; its rows stay.")
    return 0


def resync(command: BaseCommand, backend: RedisBackend, mirror: Any) -> None:
    """Has all jobs looked through, here or by the worker that is quicker."""
    broker = backend.broker
    queues = broker.queues()
    for queue in queues:
        Listener(broker, NAME, new_id()).forget(queue)
    states = Inspector(broker).queues(queues)
    total = sum(sum(state.states.values()) for state in states)
    with _output.progress_on(sys.stderr)("jobs", total) as advance:
        walked = 0
        while True:
            rest = mirror.sync_once()
            now = sum(one.walked for one in mirror.following.values())
            advance(now - walked)
            walked = now
            if rest and all(is_complete(broker, queue) for queue in queues):
                break
            time.sleep(min(rest, LOOK))
    command.stdout.write(f"All jobs of {len(queues)} queues were looked through.")


def is_complete(broker: Any, queue: str) -> bool:
    """Whether whoever has the place looked through all jobs."""
    return any(each.name == NAME and each.knows for each in audience(broker, queue).hearers)
