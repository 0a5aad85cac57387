"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import django
import hiredis
import redis

from benchmarks.server import Server


def describe(server: Server) -> dict[str, str]:
    """A line for each thing that moves the figures."""
    return {
        "machine": f"{len(os.sched_getaffinity(0))} cores, {_cpu()}, load {load()}",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "django": django.get_version(),
        "redis-py": f"{redis.__version__}, hiredis {hiredis.__version__}",
        "server": server.describe(),
    }


def load() -> str:
    """The load averages: above 1 before a run, somebody else is at work here too."""
    return ", ".join(f"{average:.1f}" for average in os.getloadavg())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
