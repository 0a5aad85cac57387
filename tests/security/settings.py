"""The settings of the workers that these tests start: everything is signed and encrypted."""

from __future__ import annotations

from tests.processes.settings import *  # noqa: F403
from tests.processes.settings import OPTIONS

SECRET_KEY = "of these tests"
SEALED = {"SIGN": True, "ENCRYPTION_KEYS": ["k" * 43]}
OPTIONS.update(SEALED)
