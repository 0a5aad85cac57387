"""The server under measurement: one of our own on a free loopback port, or one that is given."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from django_taskq.broker import embedded
from testproject.processes import HOST, die_with_parent, free_port

START_TIMEOUT = 10.0  # seconds until our own server must answer
PAUSE = 0.02  # seconds between two looks at it


class Server:
    """A running server as the benchmarks look at it; what is measured has its own connections."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = redis.Redis.from_url(url)

    def info(self, section: str) -> dict[str, Any]:
        """A section of INFO."""
        return dict(self.client.info(section))

    def cpu_seconds(self) -> float:
        """CPU time the server used so far, user and system, all of its threads."""
        info = self.info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"])

    def used_memory(self) -> int:
        """Bytes its data and buffers take."""
        return int(self.info("memory")["used_memory"])

    def settle(self) -> None:
        """Waits until what was deleted is freed; Valkey does that in the background."""
        while self.info("memory")["lazyfree_pending_objects"]:
            time.sleep(PAUSE)

    def commands(self) -> dict[str, int]:
        """How often each command ran so far, those inside scripts too."""
        stats = self.info("commandstats")
        return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}

    def describe(self) -> str:
        """Name, version and whether it writes an AOF."""
        info = self.info("server")
        name = info.get("server_name", "redis")
        version = info.get(f"{name}_version", info["redis_version"])
        aof = "with" if self.info("persistence")["aof_enabled"] else "without"
        return (
            f"{name} {version} {aof} AOF, {self.client.connection_pool.connection_class.__name__}"
        )


@contextmanager
def serving(which: str, home: Path, aof: bool) -> Iterator[Server]:
    """The server named ``valkey``, ``redis`` or by a URL. Ours keeps its files in ``home``."""
    if "://" in which:
        yield Server(which)
        return
    port = free_port(0)
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_command(which), *_options(port, home, aof)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=die_with_parent(),
        )
    try:
        server = Server(f"redis://{HOST}:{port}/0")
        _wait(server, process, log)
        yield server
    finally:
        process.terminate()
        process.wait()


def _command(which: str) -> list[str]:
    if which == "valkey":
        return [str(embedded.server_binary())]
    found = shutil.which("redis-server")
    if found is None:
        raise SystemExit("--server redis needs redis-server on the PATH (Debian: redis-server)")
    return [found]


def _options(port: int, home: Path, aof: bool) -> list[str]:
    options = {
        "port": str(port),
        "bind": HOST,
        "dir": str(home),
        "save": "",
        "appendonly": "yes" if aof else "no",
        "appendfsync": "everysec",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            server.client.ping()
            return
        except redis.RedisError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start: {error}\n{log.read_text()}") from error
            time.sleep(PAUSE)
