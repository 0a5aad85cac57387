"""What a job comes to that ran past its timeout until its process was dead."""

from __future__ import annotations

from collections.abc import Mapping

from .broker.broker import Broker, Exchange
from .exceptions import TaskTimeout
from .execution import Attempt, Runner
from .hygiene import close_all
from .job import Grant, Outcome, State

MESSAGE = "the attempt ran longer than its timeout and did not stop: its process was ended"


class Judge:
    """Settles in place of a process that had to be ended: its code might have gone on until then.

    ``sender``: the backend class that signals are sent for.
    """

    def __init__(self, broker: Broker, alias: str, sender: type) -> None:
        self._broker = broker
        self._alias = alias
        self._sender = sender

    def settle(self, queue: str, holder: str, overdue: Mapping[str, int]) -> None:
        """Ends the attempts (id -> fence) of a dead holder as timed out.

        What somebody else holds by now is left alone; what is unknown here, too, and goes back with
        the rest. Raises BrokerUnavailable; may be called again.
        """
        outcomes = []
        jobs = self._broker.fetch(queue, list(overdue))
        for (id, fence), job in zip(overdue.items(), jobs, strict=True):
            if job.state is State.RUNNING and job.live.fence == fence:
                grant = Grant(queue, id, job.envelope, job.live, job.errors)
                outcomes += self._verdict(grant, holder)
        if outcomes:
            self._broker.exchange([Exchange(queue, holder, 0, False, 0, 0, outcomes)])

    def _verdict(self, grant: Grant, holder: str) -> list[Outcome]:
        runner = Runner.of(self._broker, self._alias, holder, self._sender)
        attempt = runner.prepare(grant, now=0)  # it was not expired when it began
        if not isinstance(attempt, Attempt):
            return []
        attempt.began = grant.live.started
        try:
            return [attempt.fail(TaskTimeout(MESSAGE))]
        finally:
            close_all()  # what a receiver opened here would be inherited by the next child
