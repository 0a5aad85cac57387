"""Django 5.2 without the backport is told what to install."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import django

django.VERSION = (5, 2, 0, "final", 0)
sys.modules["django_tasks"] = None  # as if it were not installed
try:
    import django_taskq
except django.core.exceptions.ImproperlyConfigured as error:
    print(error)
"""


def test_a_missing_backport_is_named_with_what_to_do() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)

    assert "pip install 'django-taskq-redis[backport]'" in done.stdout, done.stderr
    assert "INSTALLED_APPS" in done.stdout
