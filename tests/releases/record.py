"""``python -m tests.releases.record 0.1``: keeps what this release leaves in Redis, in 0.1.json.

Run once per release, before it is published. tests/engine/test_releases.py has the code of today
go on from there.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

FOLDER = Path(__file__).parent
CHECKOUT = str(FOLDER.parents[1]).encode()  # stands in tracebacks, and is nobody's business
PREFIX = "release"
SECRET = "the secret of the release"
KEY = bytes(range(32))
KNOWN_LATER = "tests.releases.tasks.came_later"
OLD_NAME = "tests.releases.tasks.under_its_old_name"


def main(release: str) -> None:
    """Writes the file of that release."""
    import django
    from django.test import override_settings

    from django_taskq.broker import embedded
    from django_taskq.broker.connection import close_servers

    os.environ["DJANGO_SETTINGS_MODULE"] = "testproject.settings"
    with tempfile.TemporaryDirectory(prefix="tq-record-") as home:
        os.environ["TASKQ_VAR"] = home
        django.setup()
        try:
            with override_settings(TASKS=entry(f"embedded://{home}/redis?persist=no")):
                found = recorded()
        finally:
            close_servers()
            embedded.stop(Path(home, "redis"))
    lines = json.dumps(found, indent=1, sort_keys=True)
    (FOLDER / f"{release}.json").write_text(f"{lines}\n", "utf-8")


def entry(url: str, **options: Any) -> dict[str, Any]:
    """TASKS of the recording."""
    backend = "django_taskq.backends.RedisBackend"
    own = {"URL": url, "PREFIX": PREFIX, **options}
    return {"default": {"BACKEND": backend, "QUEUES": [], "OPTIONS": own}}


def recorded() -> dict[str, Any]:
    """Jobs in every state there is, and the server's keys then."""
    from django_taskq.broker.broker import Draft
    from django_taskq.clock import now_ms
    from django_taskq.codec import Seals
    from django_taskq.compat import task_backends
    from django_taskq.job import Envelope
    from tests.releases import tasks

    backend: Any = task_backends["default"]
    broker = backend.broker
    expected = leave_jobs(backend, tasks)
    seals = Seals(PREFIX, secrets=[SECRET], keys=[KEY])
    envelope = Envelope(tasks.add.module_path, now_ms(), [40], {"b": 2})
    broker.enqueue("default", [Draft("sealed.1", seals.seal_envelope("sealed.1", envelope, 9999))])
    return {
        "now": now_ms(),
        "expected": expected,
        "sealed": {"sealed.1": 42},
        "keys": dict(keys(backend.server)),
    }


def leave_jobs(backend: Any, tasks: Any) -> dict[str, Any]:
    """The jobs, by what becomes of them in the end: ``[state, value]``."""
    from django_taskq import registry
    from django_taskq.broker.broker import Draft
    from django_taskq.clock import now_ms
    from django_taskq.codec import encode_envelope
    from django_taskq.job import Envelope
    from tests.engine.support import Hand

    broker = backend.broker
    expected: dict[str, Any] = {}

    def expect(result: Any, value: Any, state: str = "succeeded") -> Any:
        expected[result.id] = [state, value]
        return result

    def raw(id: str, name: str, value: int) -> None:
        text = encode_envelope(Envelope(name, now_ms(), [value]), 9999)
        broker.enqueue("default", [Draft(id, text)])
        expected[id] = ["succeeded", value]

    later = registry._tasks.pop(KNOWN_LATER)
    hand = Hand(broker)
    expect(tasks.add.enqueue(1, 2), 3)
    expect(tasks.broken.enqueue("dead"), None, "dead")
    expect(tasks.flaky.enqueue("retrying"), "retrying at attempt 2 after 1")
    raw("parked.1", KNOWN_LATER, 7)
    hand.run()
    registry.add(later)
    cancelled = expect(tasks.add.using(run_after=3600).enqueue(0), None, "cancelled")
    cancelled.cancel()
    held = [expect(tasks.add.enqueue(3, b=4), 7), expect(tasks.flaky.enqueue("held"), None)]
    expected[held[1].id][0] = "retrying"
    assert len(hand.claim()) == 2
    expect(tasks.add.using(run_after=60).enqueue(5, 6), 11)
    expect(tasks.add.using(priority=7, expires_in=86_400).enqueue(7), 7)
    expect(tasks.add.using(id="of-its-own", max_attempts=2, tags=["t"]).enqueue(8), 8)
    expect(
        tasks.typed.enqueue(
            date(2026, 1, 2),
            timedelta(days=3),
            Decimal("1.50"),
            UUID(int=5),
            tasks.Point(1, 2),
            {"b", "a"},
        ),
        [2026, 3, "1.50", str(UUID(int=5)), 3, ["a", "b"]],
    )
    raw("renamed.1", OLD_NAME, 9)
    return expected


def keys(server: Any) -> Iterator[tuple[str, list[Any]]]:
    """Every key with its type and what is in it."""
    readers = {
        b"hash": ("HGETALL",),
        b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
        b"list": ("LRANGE", 0, -1),
        b"string": ("GET",),
    }
    for key in sorted(server.command("KEYS", f"{PREFIX}:*")):
        kind = server.command("TYPE", key)
        name, *rest = readers[kind]
        content = server.command(name, key, *rest)
        content = content if isinstance(content, list) else [content]
        yield key.decode(), [kind.decode(), [text(item) for item in content]]


def text(raw: bytes) -> str:
    """What JSON can hold of it."""
    return base64.b64encode(raw.replace(CHECKOUT, b"/srv/site")).decode()


if __name__ == "__main__":
    main(sys.argv[1])
