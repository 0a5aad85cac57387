"""The example site in the clothes of django-unfold."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403

INSTALLED_APPS = ["unfold", *INSTALLED_APPS]  # noqa: F405
