"""The test project's settings with one more app: jobs that leave traces, and misbehave."""

from __future__ import annotations

import json
import multiprocessing
import os

from testproject.settings import *  # noqa: F403

INSTALLED_APPS += ["tests.processes.app"]  # noqa: F405
INSTALLED_APPS += filter(None, [os.environ.get("TEST_APP")])
if not os.environ.get("TEST_ROWS"):  # the process that reads them is one more child of a worker
    INSTALLED_APPS.remove("django_taskq.schedules")
if not os.environ.get("TEST_MIRROR"):  # so is the one that writes rows of jobs
    INSTALLED_APPS.remove("django_taskq.mirror")
OPTIONS = TASKS["default"]["OPTIONS"]  # noqa: F405
OPTIONS["WORKER"] = {
    "concurrency": 4,
    "lease": float(os.environ.get("TEST_LEASE", "15")),
    "start_method": os.environ.get("TEST_START_METHOD") or None,
}
OPTIONS.update(json.loads(os.environ.get("TEST_OPTIONS", "{}")))
DATABASES["default"].update(json.loads(os.environ.get("TEST_DATABASE", "{}")))  # noqa: F405
if os.environ.get("TEST_STILLBORN") and multiprocessing.parent_process():
    raise RuntimeError("no child of this worker can start")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "django_taskq": {"handlers": ["console"], "level": "INFO"},
        "django.tasks": {"level": "CRITICAL"},
        "django_tasks": {"level": "CRITICAL"},
    },
}
