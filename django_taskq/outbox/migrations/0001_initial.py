import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="OutboxJob",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend", models.CharField(max_length=255, verbose_name="backend")),
                ("queue", models.CharField(max_length=64, verbose_name="queue")),
                ("job", models.CharField(max_length=64, verbose_name="job")),
                ("envelope", models.BinaryField(verbose_name="envelope")),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                ("due", models.BigIntegerField(default=0, verbose_name="due")),
                ("expires", models.BigIntegerField(default=0, verbose_name="expires")),
                ("ask", models.BinaryField(default=b"", verbose_name="ask")),
                (
                    "created",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="created"),
                ),
            ],
            options={
                "verbose_name": "job in the outbox",
                "verbose_name_plural": "jobs in the outbox",
                "db_table": "taskq_outbox",
                "default_permissions": ("view", "delete"),
            },
        ),
    ]
