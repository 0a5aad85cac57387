"""What becomes of a job whose lock another has: see Unique.on_conflict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .asks import on_conflict
from .broker.broker import Broker, Draft
from .broker.replies import answers
from .codec import OPEN
from .exceptions import DuplicateJob
from .reader import read_result
from .recipe import Prepared
from .result import become, mark_duplicate, mark_enqueued, mark_replaced

ANY_SIZE = 1 << 40  # of what was found to be small enough when it was made


class Conflict(NamedTuple):
    """A job that was not enqueued, and the id of the one that has its lock."""

    job: Prepared
    other: str


class Duplicates:
    """Settles the conflicts of one backend."""

    def __init__(self, broker: Broker, alias: str) -> None:
        self._broker = broker
        self._alias = alias

    def settle(self, conflicts: Sequence[Conflict]) -> tuple[list[Prepared], int]:
        """Replaces what is to be replaced, and makes the results of the rest those of the others.

        Returns the jobs to be sent again, because their lock is free by now, and how many were
        replaced without the confirmation that ``durability`` asks for.
        """
        again: list[Prepared] = []
        unconfirmed = 0
        there = [conflict for conflict in conflicts if not replaces(conflict)]
        for queue, of_queue in by_queue(filter(replaces, conflicts)).items():
            for conflict, letter in self._replace(queue, of_queue):
                unconfirmed += letter == "o"
                if letter == "G":
                    again.append(conflict.job)
                elif letter == "R":
                    there.append(conflict)
        self.read(there)
        return again, unconfirmed

    def _replace(self, queue: str, conflicts: Sequence[Conflict]) -> Iterator[tuple[Conflict, str]]:
        """Each conflict with its letter. Of several about one job the last one counts."""
        last = {conflict.other: conflict for conflict in conflicts}
        drafts = [renamed(self._broker, c.job.draft, c.other) for c in last.values()]
        letters = dict(zip(last, self._broker.replace(queue, drafts), strict=True))
        for conflict in conflicts:
            letter = letters[conflict.other]
            if letter in "Oo":
                newest, result = last[conflict.other].job, conflict.job.result
                become(result, newest.result)
                mark_enqueued(result, newest.moment)
                mark_replaced(result, conflict.other)
            yield conflict, letter

    def read(self, conflicts: Sequence[Conflict]) -> None:
        """Makes each result that of the job that has the lock.

        That job may be kept no more, since a lock with a ``ttl`` can outlive it.
        """
        seals = self._broker.seals or OPEN
        for queue, of_queue in by_queue(conflicts).items():
            ids = list(dict.fromkeys(conflict.other for conflict in of_queue))
            found = dict(zip(ids, self._broker.fetch(queue, ids), strict=True))
            for (job, other), stored in ((each, found[each.other]) for each in of_queue):
                if stored.state is None:
                    mark_enqueued(job.result, job.moment)
                else:
                    become(job.result, read_result(other, queue, self._alias, stored, seals))
                mark_duplicate(job.result, other)


def renamed(broker: Broker, draft: Draft, other: str) -> Draft:
    """The job under the id of the one it replaces: a sealed envelope is good for one id."""
    raw, seals = draft.envelope, broker.seals
    if seals is not None:
        envelope = seals.decrypt_envelope(draft.id, seals.verify_envelope(draft.id, raw))
        raw = seals.seal_envelope(other, envelope, ANY_SIZE)
    return draft._replace(id=other, envelope=raw)


def push_drafts(broker: Broker, queue: str, drafts: Sequence[Draft]) -> str:
    """Takes jobs in whose callers wait no more; the letters of ``Broker.enqueue()``.

    Those that are to replace another do. There is nobody to whom the others could be told.
    """
    found = broker.enqueue(queue, drafts)
    last = {
        answer.other: draft
        for draft, answer in zip(drafts, answers(found), strict=False)
        if answer.letter == "U" and on_conflict(draft.ask) == "replace"
    }
    if last:
        told = broker.replace(
            queue, [renamed(broker, draft, other) for other, draft in last.items()]
        )
        free = [draft for draft, letter in zip(last.values(), told, strict=True) if letter == "G"]
        if free:
            broker.enqueue(queue, free)
    return found


def replaces(conflict: Conflict) -> bool:
    """Whether the job's arguments are to take the place of the other's."""
    return on_conflict(conflict.job.draft.ask) == "replace"


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
