"""Imported once by the process that isolated jobs are forked from: the project, ready to run."""

from __future__ import annotations

import django
from django.apps import apps

from .task import discover

if not apps.ready:
    django.setup()
    discover()
