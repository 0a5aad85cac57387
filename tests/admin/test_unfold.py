"""Beside django-unfold, which replaces the admin's templates and its site."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import django
django.setup()
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from django_taskq.admin import console
from testproject.signup.tasks import send_welcome

console.CONNECT = console.ANSWER = 20.0  # this machine may be busy
call_command("migrate", verbosity=0)
client = Client()
client.force_login(get_user_model().objects.create_superuser("ada", "", "ada"))
job = send_welcome.enqueue(1)
for page in ("dashboard/", "queue/", "queue/default/change/", "job/", f"job/{job.id}/change/",
             f"job/{job.id}/edit/", "failure/", "worker/", "audit/", "job/bulk/",
             "schedule/", "schedule/nightly-cleanup/change/"):
    answer = client.get(f"/admin/django_taskq/{page}")
    text = answer.content.decode()
    assert answer.status_code == 200, (page, answer.status_code)
    assert 'class="tq"' in text and "django_taskq/admin.css" in text, page
assert type(admin.site).__module__.startswith("unfold"), admin.site
client.post("/admin/django_taskq/job/do/", {"verb": "cancel", "job": job.id, "confirmed": "1"})
job.refresh()
print(job.state)
"""


@pytest.mark.skipif(find_spec("unfold") is None, reason="django-unfold is not installed")
def test_every_screen_is_there_and_does_its_work(tmp_path: Path, url: str, prefix: str) -> None:
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.admin.unfold_settings",
        "PYTHONPATH": str(ROOT),
        "TASKQ_URL": url,
        "REDIS_URL": "",
        "TASKQ_PREFIX": prefix,
        "TASKQ_VAR": str(tmp_path),
    }

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "cancelled"
