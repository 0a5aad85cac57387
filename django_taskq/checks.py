"""System checks that belong to the app; each backend's own are in its ``check()``."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register
from django.core.management import get_commands

from .task import discover

OURS = "django_taskq"


@register
def check_task_modules(**kwargs: Any) -> list[CheckMessage]:
    """Whether every app's ``tasks`` module can be imported, as a worker will."""
    try:
        discover()
    except Exception as error:
        return [
            Error(
                f"A tasks module cannot be imported: {type(error).__name__}: {error}",
                hint="A worker would not start: mend it, or run `python -c 'import ...'` to see "
                "the whole traceback.",
                id="taskq.E002",
            )
        ]
    return []


UNRELATED = "django-taskq"  # a distribution; ours is django-taskq-redis


@register
def check_names(**kwargs: Any) -> list[CheckMessage]:
    """Whether another package's names stand before ours."""
    found: list[CheckMessage] = []
    owner = get_commands().get("runworker")
    if owner is not None and owner != OURS and getattr(owner, "name", owner) != OURS:
        found.append(
            Warning(
                f"`manage.py runworker` is the command of {owner}, not of django_taskq.",
                hint="Use `manage.py taskq worker`, or put django_taskq before it in "
                "INSTALLED_APPS.",
                id="taskq.W001",
            )
        )
    if is_installed(UNRELATED):
        found.append(
            Warning(
                f"{UNRELATED} installs a package named django_taskq too.",
                hint="One of the two hides the other: uninstall it.",
                id="taskq.W002",
            )
        )
    return found


def is_installed(name: str) -> bool:
    """Whether there is a distribution of that name; a look at all of them takes half a second."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
