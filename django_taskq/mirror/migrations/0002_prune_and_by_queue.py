"""The permission to delete old rows, and an index for the rows of a queue."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("taskq_mirror", "0001_initial")]

    operations = [
        migrations.AlterModelOptions(
            name="jobrecord",
            options={
                "default_permissions": ("view", "delete"),
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
            },
        ),
        migrations.AddIndex(
            model_name="jobrecord",
            index=models.Index(fields=["queue", "id"], name="taskq_job_by_queue"),
        ),
    ]
