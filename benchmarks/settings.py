"""Settings of the worker and of the client that are measured. The environment says where.

BENCH_URL     the server
BENCH_PREFIX  what the names of all keys begin with
BENCH_SLOTS   the file that jobs write their times into, see slots.py
BENCH_MIRROR  the database of the rows of jobs, as JSON; without it there are none
"""

from __future__ import annotations

import json
import os
from typing import Any

import django

SECRET_KEY = "for-measuring-only"
USE_TZ = True
TIME_ZONE = "UTC"
INSTALLED_APPS = [
    *(["django_tasks"] if django.VERSION < (6, 0) else []),
    "django_taskq",
    "benchmarks",
]
DATABASES: dict[str, Any] = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
TASKS: dict[str, Any] = {
    "default": {
        "BACKEND": "django_taskq.backends.RedisBackend",
        "QUEUES": ["default", "high", "low"],
        "OPTIONS": {
            "URL": os.environ.get("BENCH_URL", "redis://127.0.0.1:6379/0"),
            "PREFIX": os.environ.get("BENCH_PREFIX", "bench"),
        },
    },
}
if os.environ.get("BENCH_MIRROR"):
    INSTALLED_APPS.append("django_taskq.mirror")
    DATABASES["mirror"] = json.loads(os.environ["BENCH_MIRROR"])
    TASKS["default"]["OPTIONS"]["MIRROR_DATABASE"] = "mirror"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "django_taskq": {"level": "WARNING"},
        "django.tasks": {"level": "WARNING"},
        "django_tasks": {"level": "WARNING"},
    },
}
