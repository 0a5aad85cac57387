"""What a job comes to that ran past its timeout until its process was dead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .broker.broker import Broker, Exchange
from .clock import now_ms
from .exceptions import TaskTimeout
from .execution import Attempt, Runner
from .job import Failure, Grant, Kind, Outcome, State
from .outcomes import outcome, path_of
from .retry import is_portable

MESSAGE = "the attempt ran longer than its timeout and did not stop: its process was ended"


class Judge:
    """Settles in place of a process that had to be ended: its code might have gone on until then.

    ``sender``: the backend class that signals are sent for.
    """

    def __init__(self, broker: Broker, alias: str, sender: type = object) -> None:
        self._broker = broker
        self._alias = alias
        self._sender = sender

    def settle(self, queue: str, holder: str, overdue: Mapping[str, int]) -> None:
        """Ends the attempts (id -> fence) of a dead holder as timed out.

        What somebody else holds by now is left alone; what is unknown here, too, and goes back with
        the rest. Raises BrokerUnavailable; may be called again.
        """
        runner = Runner.of(self._broker, self._alias, holder, self._sender)
        outcomes = []
        jobs = self._broker.fetch(queue, list(overdue))
        for (id, fence), job in zip(overdue.items(), jobs, strict=True):
            if job.state is State.RUNNING and job.live.fence == fence:
                grant = Grant(queue, id, job.envelope, job.live, job.errors)
                outcome = self._verdict(runner, grant)
                if outcome is not None:
                    outcomes.append(outcome)
        if outcomes:
            self._broker.exchange([Exchange(queue, holder, 0, False, 0, 0, outcomes)])

    def _verdict(self, runner: Runner, grant: Grant) -> Outcome | None:
        attempt = runner.admit(grant, now=0)  # it was not expired when it began
        if not isinstance(attempt, Attempt):
            return None
        attempt.began = grant.live.started
        return attempt.fail(TaskTimeout(MESSAGE))


class PlainJudge(Judge):
    """Calls no code of the project: nobody hears of the end, and a backoff function is not asked.

    For the supervisor's own thread, which has leases to renew.
    """

    def _verdict(self, runner: Runner, grant: Grant) -> Outcome | None:
        attempt = runner.admit(grant, now=0)
        if not isinstance(attempt, Attempt):
            return None
        error = TaskTimeout(MESSAGE)
        number, began = attempt.number, grant.live.started
        attempt.began = began
        failure = Failure(
            c=path_of(error),
            m=MESSAGE,
            b=f"{path_of(error)}: {MESSAGE}\n",
            w=runner.holder,
            s=began,
            f=now_ms(),
            n=number,
        )
        line = runner.encode(grant, failure)
        policy = attempt.task.policy
        if not is_portable(policy.backoff):
            policy = replace(policy, backoff=None)
        delay = policy.decide(number, error)
        if delay is None:
            return outcome(attempt, Kind.DEAD, line, runner.dead_retention)
        return outcome(attempt, Kind.RETRYING, line, round(delay * 1000))
