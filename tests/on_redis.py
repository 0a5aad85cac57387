"""Runs pytest on a Redis of its own, from the PATH, in place of the embedded Valkey."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from django_taskq.broker.connection import get_server
from django_taskq.exceptions import BrokerUnavailable
from tests.conftest import eventually


def main(arguments: list[str]) -> int:
    """Pytest's exit code, with ``arguments`` handed on to it."""
    binary = shutil.which("redis-server")
    if binary is None:
        sys.exit("redis-server is not on the PATH (Debian: apt-get install redis-server)")
    with tempfile.TemporaryDirectory(prefix="tqr-") as home:
        socket = Path(home, "redis.sock")
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", home]
        server = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
        try:
            url = f"unix://{socket}"
            eventually(lambda: answers(url))
            command = [sys.executable, "-m", "pytest", *arguments]
            return subprocess.run(command, env={**os.environ, "REDIS_URL": url}).returncode
        finally:
            server.terminate()
            server.wait()


def answers(url: str) -> bool:
    """Whether the server is there."""
    try:
        return get_server(url).command("PING") == b"PONG"
    except BrokerUnavailable:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
