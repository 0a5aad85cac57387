"""The bare counterpart of an idle worker: `python -m benchmarks.bare_worker`.

One process blocks on the ZSET, reads the job's envelope and calls the function: two round trips.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import time_ns

from benchmarks.bare import Bare, decode
from benchmarks.slots import Slots

PATIENCE = 5  # seconds a blocked read lasts


def main() -> None:
    """Runs until it is ended."""
    bare = Bare(os.environ["BENCH_URL"], os.environ["BENCH_PREFIX"])
    slots = Slots(Path(os.environ["BENCH_SLOTS"]))
    jobs, ready, _ = bare.keys
    while True:
        popped = bare.client.bzpopmin(ready, timeout=PATIENCE)
        if popped:
            raw = bare.client.hget(jobs, popped[1])
            at, _ = decode(raw).a
            slots.times[at] = time_ns()
            bare.client.hdel(jobs, popped[1])


if __name__ == "__main__":
    main()
