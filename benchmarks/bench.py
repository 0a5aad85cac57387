"""What every row needs: the server, the slots, the bare queue, workers, and a clean start."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.bare import Bare
from benchmarks.server import Server
from benchmarks.slots import Slots
from benchmarks.worker import Worker, running, runworker

TEXT = "hello-world"
SLICE = 10_000  # jobs enqueued per call: their results are not all kept in memory


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    jobs: int = 100_000
    backlog: int = 200_000
    repeat: int = 3
    picks: int = 200
    idle_seconds: float = 30.0


class Bench:
    """One run of the benchmarks. Making it sets Django up in this process."""

    def __init__(self, server: Server, options: Options, home: Path) -> None:
        self.server = server
        self.options = options
        self.home = home
        self.prefix = f"bench-{uuid4().hex[:8]}"
        path = home / "slots"
        self.slots = Slots(path, max(options.jobs, options.backlog, options.picks, 10_000) + 100)
        os.environ |= {
            "BENCH_URL": server.url,
            "BENCH_PREFIX": self.prefix,
            "BENCH_SLOTS": str(path),
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        }
        import django

        django.setup()
        self.bare = Bare(server.url, self.prefix)

    def say(self, text: str) -> None:
        """A line about the progress."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def rounds(self, text: str) -> Iterator[int]:
        """The repetitions, announced."""
        for number in range(self.options.repeat):
            self.say(f"{text}, {number + 1} of {self.options.repeat}")
            yield number

    # -- jobs ------------------------------------------------------------------------------------

    def fill(self, task: Any, count: int) -> float:
        """Enqueues ``count`` jobs, numbered from 0; the seconds that took."""
        began = time.perf_counter()
        for first in range(0, count, SLICE):
            last = min(first + SLICE, count)
            task.enqueue_many([(i, TEXT) for i in range(first, last)])
        return time.perf_counter() - began

    def clean(self) -> None:
        """No jobs, no marks. Only our own keys are touched: the server may be somebody's."""
        from benchmarks.tasks import run_noop
        from django_taskq.broker.keys import QUEUE_KEYS

        backend = run_noop.get_backend()
        keys = [backend.broker.key(q, key) for q in sorted(backend.queues) for key in QUEUE_KEYS]
        self.server.client.delete(*keys)
        self.bare.clear()
        self.slots.clear(len(self.slots.times))
        self.server.settle()

    def forget(self) -> None:
        """At the end: the keys that are no queue's, too."""
        from django_taskq.broker.keys import GLOBAL_KEYS, global_key

        self.clean()
        self.server.client.delete(*(global_key(self.prefix, key) for key in GLOBAL_KEYS))

    # -- workers ---------------------------------------------------------------------------------

    def worker(self, *options: str, url: str = "") -> AbstractContextManager[Worker]:
        """A real worker, stopped by SIGTERM at the end. ``url``: another way to the server."""
        return self.process(runworker(*options), url)

    def process(self, arguments: list[str], url: str = "") -> AbstractContextManager[Worker]:
        """A process that works on the jobs."""
        return running(self.home / "worker.log", arguments, url or self.server.url)

    def wait(self, worker: Worker, done: Callable[[], bool], seconds: float) -> None:
        """Until ``done()``. Ends the benchmark if the worker ends, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while not done():
            worker.check()
            if time.monotonic() > deadline:
                raise SystemExit(f"the worker was not done in {seconds:.0f} s:\n{worker.output}")
            time.sleep(0.005)
