"""The permissions of the admin. No table is made: the models only give them a name."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models


def pseudo(name: str, one: str, many: str, **options: Any) -> migrations.CreateModel:
    """A model that is no table."""
    field = models.BigAutoField(
        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
    )
    return migrations.CreateModel(
        name=name,
        fields=[("id", field)],
        options={
            "verbose_name": one,
            "verbose_name_plural": many,
            "abstract": False,
            "managed": False,
            "default_permissions": (),
            **options,
        },
    )


class Migration(migrations.Migration):
    initial = True
    dependencies: ClassVar[list[Any]] = []
    operations: ClassVar[list[Any]] = [
        pseudo("Audit", "audit entry", "Audit"),
        pseudo(
            "Dashboard",
            "dashboard",
            "Dashboard",
            permissions=(
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
                ("control_worker", "Can steer workers"),
            ),
        ),
        pseudo("Failure", "failure", "Failures"),
        pseudo("Job", "job", "Jobs"),
        pseudo("Queue", "queue", "Queues"),
        pseudo("Worker", "worker", "Workers"),
    ]
