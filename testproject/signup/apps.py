"""The app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SignupConfig(AppConfig):
    """Sign-up with a welcome mail."""

    name = "testproject.signup"
    label = "signup"
    verbose_name = _("Sign-up")
