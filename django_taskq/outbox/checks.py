"""What keeps an outbox from working, as far as the settings show it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from django.apps import apps

from ..broker.broker import derived_number
from ..conf import Problem
from .store import APP


def problems_of_outbox(queues: Iterable[str]) -> list[Problem]:
    """Problems of a backend with ``OUTBOX``."""
    problems = []
    if not apps.is_installed(APP):
        hint = f"Add {APP!r} to INSTALLED_APPS and run `manage.py migrate`."
        problems.append(Problem("OPTIONS['OUTBOX'] has no table", hint))
    for one, other in combinations(sorted(queues), 2):
        if derived_number(one) == derived_number(other):
            hint = "Rename one: their jobs' ids would end alike."
            problems.append(Problem(f"the queues {one!r} and {other!r} share a number", hint))
    return problems
