"""The command that stands before ours."""

from __future__ import annotations

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Does nothing."""
