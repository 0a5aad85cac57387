"""A place in the admin's index for the tasks of the project. No table is made."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar[list[Any]] = [("django_taskq", "0002_schedules_and_workers")]
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="TaskType",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                )
            ],
            options={
                "verbose_name": "task type",
                "verbose_name_plural": "Task types",
                "abstract": False,
                "managed": False,
                "default_permissions": (),
            },
        ),
    ]
