"""What a millisecond on the way to the server costs."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.distance import delayed as further_away
from benchmarks.distance import round_trip
from benchmarks.draining import drain, drain_bare
from benchmarks.report import Row, Target

DELAY = 0.001  # seconds added to a round trip


def delayed(bench: Bench) -> Iterator[Row]:
    """The drain through the proxy, and the share that is left of the drain without it."""
    count = bench.options.jobs
    near: list[float] = []
    far: list[float] = []
    bare_near: list[float] = []
    bare_far: list[float] = []
    with further_away(bench.server.url, DELAY) as url:
        added = round_trip(url) - round_trip(bench.server.url)
        bench.say(f"the proxy adds {added * 1000:.2f} ms to a round trip")
        for _ in bench.rounds(f"drain of {count:,} jobs with 1 ms added to each round trip"):
            bare_near.append(drain_bare(bench, count).rate)
            bare_far.append(drain_bare(bench, count, url).rate)
            near.append(drain(bench, count).rate)
            far.append(drain(bench, count, url=url).rate)
    yield Row("drain, +1 ms per round trip", "/s", far, bare_far)
    yield Row(
        "share of the rate without it",
        "%",
        [100 * f / n for f, n in zip(far, near, strict=True)],
        [100 * f / n for f, n in zip(bare_far, bare_near, strict=True)],
        Target(80),
    )
    yield Row("milliseconds that were added", "ms", [added * 1000])
