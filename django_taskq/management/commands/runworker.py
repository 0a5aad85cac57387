"""``manage.py runworker``: runs the jobs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from . import _worker


class Command(BaseCommand):
    """The worker."""

    help = _worker.HELP
    requires_system_checks = "__all__"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See _worker.add_arguments."""
        _worker.add_arguments(parser)
        _worker.explain(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Leaves with the worker's exit code."""
        sys.exit(_worker.run(options))
