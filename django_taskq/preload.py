"""Imported once by the process that isolated jobs are forked from: the project, ready to run."""

from __future__ import annotations

import django
from django.apps import apps
from django.db import connections

from . import paths
from .task import discover

if not apps.ready:
    paths.take()
    django.setup()
    discover()
connections.close_all()  # what the project opened must not be shared by all who are forked here
