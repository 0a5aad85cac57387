"""``manage.py taskq``: the operator's command."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from django.core.management.base import BaseCommand

from . import _audit, _doctor, _limits, _mirror, _reads, _schedules, _worker, _workers


class Verb(NamedTuple):
    """What can be said behind ``taskq``; ``run`` answers the exit code."""

    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[BaseCommand, dict[str, Any]], int]


def work(command: BaseCommand, options: dict[str, Any]) -> int:
    """``taskq worker`` is ``runworker`` under a name that no other package uses."""
    return _worker.run(options)


VERBS = {
    "worker": Verb(_worker.HELP, _worker.add_arguments, work),
    "doctor": Verb(_doctor.HELP, _doctor.add_arguments, _doctor.run),
    "queues": Verb(
        "Jobs per queue and state.", _doctor.add_reading, partial(_reads.run, read=_reads.queues)
    ),
    "stats": Verb(
        "All queues together, and the memory their keys take.",
        _doctor.add_reading,
        partial(_reads.run, read=_reads.stats),
    ),
    "limits": Verb(_limits.HELP, _limits.add_arguments, _limits.run),
    "workers": Verb(_workers.HELP, _workers.add_arguments, _workers.run),
    "mirror": Verb(_mirror.HELP, _mirror.add_arguments, _mirror.run),
    "audit": Verb(_audit.HELP, _audit.add_arguments, _audit.run),
    "schedules": Verb(_schedules.HELP, _schedules.add_arguments, _schedules.run),
}


class Command(BaseCommand):
    """A verb says what to do."""

    help = "Looks after background jobs."
    requires_system_checks = "__all__"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """A subcommand per verb."""
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        parsers = []
        for name, verb in VERBS.items():
            parsers.append(verbs.add_parser(name, help=verb.help, description=verb.help))
            verb.add_arguments(parsers[-1])
        _worker.explain(parser, *parsers)

    def handle(self, *args: Any, **options: Any) -> None:
        """Leaves with the verb's exit code."""
        sys.exit(VERBS[options["verb"]].run(self, options))
