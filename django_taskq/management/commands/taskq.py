"""``manage.py taskq``: the operator's command. So far it has one verb."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from . import _worker


class Command(BaseCommand):
    """``taskq worker`` is ``runworker`` under a name that no other package uses."""

    help = "Looks after background jobs."
    requires_system_checks = "__all__"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """A subcommand per verb."""
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        _worker.add_arguments(verbs.add_parser("worker", help=_worker.HELP))

    def handle(self, *args: Any, **options: Any) -> None:
        """Leaves with the worker's exit code."""
        sys.exit(_worker.run(options))
