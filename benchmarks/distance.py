"""The server seen from further away: its URL through the proxy, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from urllib.parse import urlsplit

import redis

from benchmarks.figures import percentile
from testproject.processes import ROOT, die_with_parent


@contextmanager
def delayed(url: str, seconds: float) -> Iterator[str]:
    """A URL under which a round trip takes ``seconds`` longer.

    The proxy's own work takes time too: how much is measured, and made up for.
    """
    direct = round_trip(url)
    with _proxy(url, seconds) as through:
        excess = round_trip(through) - direct - seconds
    with _proxy(url, max(seconds - excess, 0.0)) as through:
        yield through


@contextmanager
def _proxy(url: str, seconds: float) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme != "redis":
        raise SystemExit("the row `delayed` needs a server reached by redis://")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.proxy"),
            *(parts.hostname or "localhost", str(parts.port or 6379), str(seconds / 2)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent(),
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        login = parts.netloc.rpartition("@")[0]
        where = f"127.0.0.1:{port}"
        yield parts._replace(netloc=f"{login}@{where}" if login else where).geturl()
    finally:
        process.terminate()
        process.wait()


def round_trip(url: str, times: int = 200) -> float:
    """Seconds that a PING through redis-py takes, the median."""
    with redis.Redis.from_url(url) as client:
        client.ping()
        taken = []
        for _ in range(times):
            began = perf_counter()
            client.ping()
            taken.append(perf_counter() - began)
    return percentile(taken, 0.5)
