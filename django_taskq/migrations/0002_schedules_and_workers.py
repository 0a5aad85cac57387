"""Schedules in the admin, and permissions to steer them and workers. No table is made."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar[list[Any]] = [("django_taskq", "0001_initial")]
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="Schedule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                )
            ],
            options={
                "verbose_name": "schedule",
                "verbose_name_plural": "Schedules",
                "abstract": False,
                "managed": False,
                "default_permissions": (),
            },
        ),
        migrations.AlterModelOptions(
            name="dashboard",
            options={
                "verbose_name": "dashboard",
                "verbose_name_plural": "Dashboard",
                "managed": False,
                "default_permissions": (),
                "permissions": (
                    ("view_taskq", "Can see background jobs, queues and workers"),
                    ("view_args", "Can see what jobs carry: arguments, values, messages of errors"),
                    ("retry_job", "Can retry jobs"),
                    ("cancel_job", "Can cancel jobs"),
                    ("kill_job", "Can kill running jobs"),
                    ("delete_job", "Can delete jobs"),
                    ("run_job", "Can run jobs before their time"),
                    ("move_job", "Can move jobs to another queue"),
                    ("prioritize_job", "Can change the priority of jobs"),
                    ("edit_args", "Can change the arguments of jobs"),
                    ("pause_queue", "Can pause queues and let them go on"),
                    ("purge_queue", "Can purge queues"),
                    ("quiet_worker", "Can have workers take no more jobs"),
                    ("stop_worker", "Can stop workers"),
                    ("view_stack", "Can see where the code of workers is"),
                    ("run_schedule", "Can run schedules now"),
                    ("pause_schedule", "Can pause schedules and let them go on"),
                    ("skip_schedule", "Can skip the next run of schedules"),
                ),
            },
        ),
    ]
