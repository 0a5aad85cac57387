"""System checks that belong to the app; each backend's own are in its ``check()``."""

from __future__ import annotations

from importlib.metadata import packages_distributions
from typing import Any

from django.core.checks import CheckMessage, Warning, register
from django.core.management import get_commands

OURS = "django_taskq"


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
    others = set(packages_distributions().get(OURS, ())) - {"django-taskq-redis"}
    if others:
        found.append(
            Warning(
                f"{', '.join(sorted(others))} installs a package named django_taskq too.",
                hint="One of the two hides the other: uninstall it.",
                id="taskq.W002",
            )
        )
    return found
