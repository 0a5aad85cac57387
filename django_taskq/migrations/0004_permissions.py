"""More permissions: to decide about failures, release locks and change limits. No table is made."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar[list[Any]] = [("django_taskq", "0003_tasktype")]
    operations: ClassVar[list[Any]] = [
        migrations.AlterModelOptions(
            name="dashboard",
            options={
                "default_permissions": (),
                "managed": False,
                "permissions": (
                    ("view_taskq", "Can see background jobs, queues and workers"),
                    ("view_args", "Can see what jobs carry: arguments, values, messages of errors"),
                    ("retry_job", "Can retry jobs"),
                    ("cancel_job", "Can cancel jobs"),
                    ("kill_job", "Can kill running jobs"),
                    ("delete_job", "Can delete jobs"),
                    ("run_job", "Can run jobs before their time, and copies of jobs"),
                    ("enqueue_task", "Can enqueue tasks, with arguments of their own choice"),
                    ("move_job", "Can move jobs to another queue"),
                    ("prioritize_job", "Can change the priority of jobs"),
                    ("unlock_job", "Can release the locks of jobs"),
                    ("edit_args", "Can change the arguments of jobs"),
                    ("pause_queue", "Can pause queues and let them go on"),
                    ("purge_queue", "Can purge queues"),
                    ("edit_limits", "Can change limits"),
                    ("quiet_worker", "Can have workers take no more jobs"),
                    ("stop_worker", "Can stop and restart workers"),
                    ("view_stack", "Can see where the code of workers is"),
                    ("run_schedule", "Can run schedules now"),
                    ("pause_schedule", "Can pause schedules and let them go on"),
                    ("skip_schedule", "Can skip the next run of schedules"),
                    ("triage_failure", "Can mark failures as resolved or ignored"),
                ),
                "verbose_name": "dashboard",
                "verbose_name_plural": "Dashboard",
            },
        ),
    ]
