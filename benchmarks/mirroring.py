"""Writes the rows of all jobs once, in a process of its own, and says how long it took (s)."""

from __future__ import annotations

import time

import django


def main() -> None:
    """Prints the rows and the seconds."""
    django.setup()
    from django_taskq.mirror.process import parts_of

    mirror, _ = parts_of("default")
    began = time.perf_counter()
    mirror.finish()
    print(mirror.total, time.perf_counter() - began)


if __name__ == "__main__":
    main()
