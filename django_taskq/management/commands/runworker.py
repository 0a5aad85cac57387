"""``manage.py runworker``: runs the jobs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from . import _worker


class Command(BaseCommand):
    """The worker."""

    help = (
        "Runs background jobs until it is stopped. TERM and INT finish running jobs and give the "
        "rest back, a second INT at once; TSTP takes no more jobs, TTIN dumps all stacks, HUP "
        "starts anew with new code."
    )
    requires_system_checks = "__all__"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See _worker.add_arguments."""
        _worker.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Leaves with the worker's exit code."""
        sys.exit(_worker.run(options))
