"""The rows as workers see them."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Sum

from ..periodic import Declaration
from .models import Schedule


class DatabaseRows:
    """Every row of the table; see periodic.Source."""

    def version(self) -> Any:
        """Differs after every change: each gives its row another random number."""
        return Schedule.objects.aggregate(count=Count("pk"), sum=Sum("version"))

    def load(self) -> list[Declaration]:
        """All rows."""
        return [row.declaration() for row in Schedule.objects.all()]


ROWS = DatabaseRows()
