"""Making jobs: what all jobs of one call have in common is worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from .asks import NOTHING as PLAIN
from .broker.broker import Draft
from .clock import now_ms, to_datetime, to_ms
from .codec import LATEST, Seals, encode_envelope
from .context.carrier import NOTHING
from .job import Envelope, State
from .result import TaskResult, fresh_result
from .retry import bad_option
from .task import Task


class Prepared(NamedTuple):
    """A job that is ready to be pushed, and the result its caller holds."""

    queue: str
    draft: Draft
    result: TaskResult
    moment: datetime | None  # when it was made, which is when it counts as enqueued

    def __repr__(self) -> str:
        """Without what is sensitive in the job."""
        return f"Prepared({self.queue!r}, {self.draft!r}, {self.result!r})"


class Recipe:
    """Makes the jobs of one ``enqueue()`` or ``enqueue_many()``.

    ``gates``: of the queues that have limits, see asks.py.
    """

    def __init__(
        self,
        task: Task,
        alias: str,
        max_payload: int,
        seals: Seals | None = None,
        gates: Mapping[str, bytes] | None = None,
        along: dict[str, Any] = NOTHING,
    ) -> None:
        now = now_ms()
        self._along = along
        self._moment = to_datetime(now)
        self._task = task
        self._name = task.module_path
        self._now = now
        self._max_payload = max_payload
        self._seals = seals
        self._gate = gates.get(task.queue_name, b"") if gates else b""
        self._due = self._run_at = 0
        if task.run_after is not None:
            self._due = self._run_at = max(to_ms(task.run_after), 1)
            if self._due >= LATEST:  # no process could read the job
                raise bad_option("run_after", str(task.run_after), "must be before the year 10000")
        elif task.delay is not None:
            self._due = -round(task.delay * 1000)
            self._run_at = now - self._due
        expires = task.options.expires_in
        self._expires_in = round(expires * 1000) if expires else 0
        self._alias = alias
        self._state = State.SCHEDULED if self._run_at > now else State.READY

    def make(self, id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Prepared:
        """A job; raises InvalidArgument or PayloadTooLarge, and sends nothing."""
        task = self._task
        plain_args, plain_kwargs = task.signature.dump(args, kwargs)
        envelope = Envelope(
            self._name,
            self._now,
            plain_args,
            plain_kwargs,
            task.overrides,
            self._run_at,
            "",
            self._along,
        )
        if self._seals is None:
            raw = encode_envelope(envelope, self._max_payload)
        else:
            raw = self._seals.seal_envelope(id, envelope, self._max_payload)
        ask = b""
        if task.asks is not None:
            ask = task.asks.of(args, kwargs, plain_args, plain_kwargs)
        if self._gate:
            ask = (ask or PLAIN) + self._gate
        draft = Draft(id, raw, task.priority, self._due, self._expires_in, ask)
        result = fresh_result(task, id, plain_args, plain_kwargs, self._alias, self._state)
        return Prepared(task.queue_name, draft, result, self._moment)
