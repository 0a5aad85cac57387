"""A PostgreSQL of the tests' own: on a unix socket, under an unprivileged user, gone afterwards.

A conftest.py imports the fixture ``postgres`` from here. Without PostgreSQL or psycopg the tests
that ask for it are skipped; with TASKQ_NEEDS_POSTGRES they fail.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from pwd import getpwnam
from typing import Any

import pytest
from django.db import connections

USER = "postgres"
UNPRIVILEGED = "nobody"
OPTIONS = "-F -h '' -c max_connections=50 -c shared_buffers=16MB"  # -F: nothing needs to last


class Postgres:
    """A server in ``home``."""

    def __init__(self, binaries: Path, home: Path) -> None:
        self._binaries = binaries
        self.home = home
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Makes a cluster and starts its server."""
        if os.getuid() == 0:  # the server refuses to run as root
            shutil.chown(self.home, UNPRIVILEGED)
        data = str(self.home / "data")
        self._run("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        self.go_on()

    def go_on(self) -> None:
        """Starts the server again after ``stop()``."""
        data, options = str(self.home / "data"), f"{OPTIONS} -k {self.home}"
        self._run("pg_ctl", "-D", data, "-w", "-l", str(self.home / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stops it at once."""
        self._run("pg_ctl", "-D", str(self.home / "data"), "-m", "immediate", "-w", "stop")

    def create(self) -> dict[str, Any]:
        """A new, empty database, as an entry of DATABASES."""
        name = f"db{next(self._numbers)}"
        self._run("createdb", "-h", str(self.home), "-U", USER, name)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": USER,
            "HOST": str(self.home),
        }

    def _run(self, program: str, *args: str) -> None:
        command = [str(self._binaries / program), *args]
        if os.getuid() == 0:
            user = getpwnam(UNPRIVILEGED)
            own = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
            command = ["setpriv", *own, *command]
        # To a file: the server keeps what it inherits open, and a pipe would never end.
        with tempfile.TemporaryFile() as said:
            code = subprocess.call(
                command, cwd=self.home, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
            said.seek(0)
            assert code == 0, said.read().decode("utf-8", "replace")


def binaries() -> Path | None:
    """Where the server's programs are; on Debian not on the PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in versions), key=lambda p: int(p.parent.name), default=None)


def missing() -> str:
    """Why there can be no server here."""
    if binaries() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if find_spec("psycopg") is None:
        return "psycopg is not installed"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL refuses root, and there is no setpriv to become somebody else"
    return ""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this test process."""
    reason, folder = missing(), binaries()
    if reason or folder is None:
        if os.environ.get("TASKQ_NEEDS_POSTGRES"):
            pytest.fail(reason)
        pytest.skip(reason)
    with running(folder) as server:
        yield server


@contextmanager
def running(folder: Path) -> Iterator[Postgres]:
    """A block in which there is a server."""
    home = Path(tempfile.mkdtemp(prefix="tq-pg-"))
    home.chmod(0o755)
    server = Postgres(folder, home)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def database(alias: str, **entry: Any) -> Iterator[str]:
    """A block with one more database in Django's settings."""
    defaults = connections["default"].settings_dict
    empty = dict.fromkeys(("NAME", "USER", "PASSWORD", "HOST", "PORT"), "")
    connections.settings[alias] = {**defaults, **empty, "OPTIONS": {}, **entry}
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]
