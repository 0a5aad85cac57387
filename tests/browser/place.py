"""A site, a worker and Chromium: what the tests of this folder and ``make screenshots`` drive."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testproject.processes import die_with_parent
from tests.conftest import eventually
from tests.topology.nodes import free_port

ROOT = Path(__file__).resolve().parents[2]
APP = Path(__file__).resolve().parent / "app"
ADMIN = "admin/django_taskq"
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """Where Chromium is; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Place:
    """A running site. ``env``: what its processes, and programs that enqueue there, see."""

    def __init__(self, home: Path, url: str, prefix: str) -> None:
        self.home = home
        self.port = free_port()
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.browser.settings",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(APP)]),
            "TASKQ_URL": url,
            "REDIS_URL": "",
            "TASKQ_PREFIX": prefix,
            "TASKQ_VAR": str(home),
            "DATABASE_URL": f"sqlite:///{home / 'db.sqlite3'}",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, path: str = "dashboard/") -> str:
        """The address of one of our pages."""
        return f"{self.address}/{ADMIN}/{path}"

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        log = (self.home / f"process-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
            cwd=ROOT,
            env=self.env,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),
        )
        self.processes.append(process)
        return process

    def serve(self) -> None:
        """Starts the site, and waits until it answers."""
        site = self.start("-m", "tests.browser.serve", str(self.port))

        def answers() -> bool:
            assert site.poll() is None, (self.home / "process-0.log").read_text()
            try:
                return bool(urllib.request.urlopen(f"{self.address}/admin/login/", timeout=5))
            except OSError:
                return False

        eventually(answers, 60.0, "the site never answered")

    def work(self) -> subprocess.Popen[bytes]:
        """Starts a worker."""
        return self.start("-m", "django", "taskq", "worker")

    def enqueue(self, program: str) -> list[str]:
        """Runs a line of Python with the shop's tasks; what it prints, in lines."""
        code = f"import django; django.setup()\nfrom shop.tasks import *\n{program}"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().split("\n")[:-1]

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield running
        finally:
            running.close()


def sign_in(page: Any, place: Place) -> None:
    """As ada."""
    page.goto(f"{place.address}/admin/login/?next=/{ADMIN}/dashboard/")
    page.fill("#id_username", "ada")
    page.fill("#id_password", "ada")
    page.click("input[type=submit]")
    page.wait_for_url("**/dashboard/")
