"""The processes that run jobs, as far as Redis knows them: their leases, and what each runs."""

from __future__ import annotations

from typing import NamedTuple

from django.http import HttpRequest, HttpResponse

from ..broker.inspector import QueueState
from ..job import State
from ..showing import Summary, summary
from .console import MOST_QUEUES, Console
from .screen import Screen

MOST_RUNNING = 300  # jobs that the page shows


class Process(NamedTuple):
    """A process that holds leases. ``left``: ms until the first of them ends."""

    id: str
    left: int
    queues: list[str]
    jobs: list[Summary]

    @property
    def is_lapsed(self) -> bool:
        return self.left <= 0


class WorkerAdmin(Screen):
    """``/admin/django_taskq/worker/``"""

    def list_page(self, request: HttpRequest, console: Console) -> HttpResponse:
        """Three round trips: the queues' names, the queues, what runs."""
        states = console.inspector.queues(console.queues[:MOST_QUEUES])
        names = [state.name for state in states]
        running = console.inspector.page(names, State.RUNNING, size=MOST_RUNNING)
        jobs = [summary(row, console.broker.seals) for row in running.rows]
        context = {
            "processes": processes(states, jobs),
            "shown": len(jobs),
            "running": sum(state.states[State.RUNNING] for state in states),
            "now": max((state.now for state in states), default=0),
            "orphans": orphans(states, jobs),
        }
        return self.page(request, console, "workers", context)


def processes(states: list[QueueState], jobs: list[Summary]) -> list[Process]:
    """Who holds leases, the busiest first, with what each runs."""
    found: dict[str, Process] = {}
    for state in states:
        for holder in state.page:
            known = found.get(holder.id)
            if known is None:
                found[holder.id] = Process(holder.id, holder.left, [state.name], [])
            else:
                known.queues.append(state.name)
                found[holder.id] = known._replace(left=min(known.left, holder.left))
    for job in jobs:
        if job.live.holder in found:
            found[job.live.holder].jobs.append(job)
    return sorted(found.values(), key=lambda each: (-len(each.jobs), each.id))


def orphans(states: list[QueueState], jobs: list[Summary]) -> list[Summary]:
    """What runs in a process that has no lease: the next reaper takes it back."""
    known = {holder.id for state in states for holder in state.page}
    whole = all(state.holders == len(state.page) for state in states)
    return [job for job in jobs if whole and job.live.holder not in known]
