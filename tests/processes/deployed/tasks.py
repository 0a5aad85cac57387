"""What the two releases know."""

from __future__ import annotations

import os

from django_taskq import task
from tests.processes.app.tasks import trace

RELEASE = os.environ.get("RELEASE", "new")

if RELEASE == "old":

    @task
    def send(to: str) -> None:
        trace(f"old send {to}")

    @task
    def former_name(text: str) -> None:
        trace(f"old former {text}")

else:

    @task
    def send(to: str, subject: str = "none") -> None:  # type: ignore[misc]
        trace(f"new send {to} {subject}")

    @task(aliases=["tests.processes.deployed.tasks.former_name"])
    def better_name(text: str) -> None:
        trace(f"new better {text}")

    @task
    def brand_new(text: str) -> None:
        trace(f"new brand {text}")
