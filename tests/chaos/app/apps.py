"""The app under fault. A run that checks the checker breaks a script here, in every process."""

from __future__ import annotations

from django.apps import AppConfig


class ChaosConfig(AppConfig):
    name = "tests.chaos.app"

    def ready(self) -> None:
        from tests.chaos.mutants import install

        install()
