"""What becomes of a job whose lock another has: see Unique.on_conflict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .asks import on_conflict
from .broker.broker import Broker, Draft
from .codec import OPEN
from .exceptions import DuplicateJob
from .reader import read_result
from .recipe import Prepared
from .result import become, mark_duplicate


class Conflict(NamedTuple):
    """A job that was not enqueued, and the id of the one that has its lock."""

    job: Prepared
    other: str


class Duplicates:
    """Settles the conflicts of one backend."""

    def __init__(self, broker: Broker, alias: str, max_payload: int) -> None:
        self._broker = broker
        self._alias = alias
        self._max_payload = max_payload

    def settle(self, conflicts: Sequence[Conflict]) -> list[Prepared]:
        """Replaces what is to be replaced, and makes the results of the rest those of the others.

        Returns the jobs to be sent again, because their lock is free by now.
        """
        again: list[Prepared] = []
        there: list[Conflict] = []
        for queue, of_queue in by_queue(conflicts).items():
            new = [c for c in of_queue if on_conflict(c.job.draft.ask) == "replace"]
            there += [c for c in of_queue if on_conflict(c.job.draft.ask) != "replace"]
            drafts = [self._renamed(conflict) for conflict in new]
            for conflict, letter in zip(new, self._broker.replace(queue, drafts), strict=True):
                if letter == "O":
                    mark_duplicate(conflict.job.result, conflict.other)
                elif letter == "G":
                    again.append(conflict.job)
                else:
                    there.append(conflict)
        self.read(there)
        return again

    def _renamed(self, conflict: Conflict) -> Draft:
        """The job under the id of the one it replaces: a sealed envelope is good for one id."""
        draft, seals = conflict.job.draft, self._broker.seals
        raw = draft.envelope
        if seals is not None:
            envelope = seals.decrypt_envelope(draft.id, seals.verify_envelope(draft.id, raw))
            raw = seals.seal_envelope(conflict.other, envelope, self._max_payload)
        return draft._replace(id=conflict.other, envelope=raw)

    def read(self, conflicts: Sequence[Conflict]) -> None:
        """Makes each result that of the job that has the lock."""
        for queue, of_queue in by_queue(conflicts).items():
            found = self._broker.fetch(queue, [conflict.other for conflict in of_queue])
            for conflict, stored in zip(of_queue, found, strict=True):
                result, seals = conflict.job.result, self._broker.seals or OPEN
                if stored.state is not None:
                    become(result, read_result(conflict.other, queue, self._alias, stored, seals))
                mark_duplicate(result, conflict.other)


def by_queue(conflicts: Iterable[Conflict]) -> dict[str, list[Conflict]]:
    """The conflicts of each queue, in order."""
    found: dict[str, list[Conflict]] = {}
    for conflict in conflicts:
        found.setdefault(conflict.job.queue, []).append(conflict)
    return found


def refuse(jobs: Sequence[Prepared]) -> None:
    """Raises DuplicateJob if one of the jobs was kept out and asks for that."""
    kept_out = [
        job for job in jobs if job.result.duplicate and on_conflict(job.draft.ask) == "raise"
    ]
    if kept_out:
        first = kept_out[0]
        more = f", and {len(kept_out) - 1} more" if len(kept_out) > 1 else ""
        raise DuplicateJob(
            f"{first.result.task.module_path}: job {first.result.id} is there already{more}",
            [job.result for job in jobs],
        )
