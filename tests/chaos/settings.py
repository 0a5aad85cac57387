"""Settings of the workers and of the producer under fault. The environment says where.

CHAOS_URL     the server, or a proxy before it
CHAOS_LEDGER  the file that jobs write their effects into
CHAOS_LEASE   seconds
CHAOS_DURABILITY  how sure an enqueue is; not set: the default
CHAOS_REPLICAS    how many have to confirm it
CHAOS_KNOWS   which of the two sets of tasks this code has: "old", "new" or "old new"
"""

from __future__ import annotations

import os
from typing import Any

import django

SECRET_KEY = "for-breaking-only"
USE_TZ = True
INSTALLED_APPS = [
    *(["django_tasks"] if django.VERSION < (6, 0) else []),
    "django_taskq",
    "tests.chaos.app",
]
DATABASES: dict[str, Any] = {}
ENDED = 5_000_000  # jobs that are kept until the checker has seen them
TASKS: dict[str, Any] = {
    "default": {
        "BACKEND": "django_taskq.backends.RedisBackend",
        "OPTIONS": {
            "URL": os.environ["CHAOS_URL"],
            "PREFIX": "chaos",
            "SOCKET_TIMEOUT": 2,
            "WORKER": {
                "concurrency": 4,
                "processes": 2,
                "lease": float(os.environ.get("CHAOS_LEASE", "5")),
                "shutdown_timeout": 5,
            },
            "KEEP": {"succeeded": ENDED, "dead": ENDED, "cancelled": ENDED},
        },
    },
}
if "CHAOS_DURABILITY" in os.environ:
    TASKS["default"]["OPTIONS"] |= {
        "DURABILITY": os.environ["CHAOS_DURABILITY"],
        "DURABILITY_TIMEOUT": 1,
        "REPLICAS": int(os.environ.get("CHAOS_REPLICAS", "1")),
    }
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "django_taskq": {"handlers": ["console"], "level": "INFO"},
        "django_taskq.job": {"level": "ERROR"},
        "django.tasks": {"level": "CRITICAL"},
        "django_tasks": {"level": "CRITICAL"},
    },
}
