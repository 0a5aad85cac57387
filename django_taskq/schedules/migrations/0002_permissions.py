"""Steering schedules is allowed by django_taskq, which has those in code too."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar[list[Any]] = [("taskq_schedules", "0001_initial")]
    operations: ClassVar[list[Any]] = [
        migrations.AlterModelOptions(
            name="schedule",
            options={
                "ordering": ("name",),
                "verbose_name": "schedule",
                "verbose_name_plural": "schedules",
            },
        ),
    ]
