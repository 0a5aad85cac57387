"""The result of a job: Django's TaskResult, and what Redis knows beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import compat
from .compat import TASK_REFRESH_ATTRS, TaskResultStatus
from .job import ENDED, State

STATUS: dict[State, TaskResultStatus] = {
    State.WAITING: TaskResultStatus.READY,
    State.SCHEDULED: TaskResultStatus.READY,
    State.READY: TaskResultStatus.READY,
    State.RETRYING: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    State.DEAD: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
}

REFRESHED = (*TASK_REFRESH_ATTRS, "state")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult(compat.TaskResult):  # type: ignore[misc]
    """A job as it was when this was made; ``refresh()`` looks again.

    ``state`` is the job's own state, finer than Django's ``status``. ``duplicate`` says that the
    id existed already and nothing was enqueued.
    """

    state: State = State.READY
    duplicate: bool = False

    def __post_init__(self) -> None:
        # The arguments went through the codec already: they are JSON.
        pass

    @property
    def is_ended(self) -> bool:
        """Whether the job came to an end: succeeded, dead or cancelled."""
        return self.state in ENDED

    def refresh(self) -> None:
        """Reads the job again."""
        self.take(self.task.get_backend().get_result(self.id))

    async def arefresh(self) -> None:
        """Reads the job again."""
        self.take(await self.task.get_backend().aget_result(self.id))

    def take(self, fresh: TaskResult) -> None:
        """Becomes what ``fresh``, another reading of the same job, says."""
        for name in REFRESHED:
            object.__setattr__(self, name, getattr(fresh, name))

    def get(self, timeout: float | None = None) -> Any:
        """The value, once the job succeeded.

        Waits up to ``timeout`` seconds (None: for ever) and is woken when the job ends. Raises
        TaskFailed (TaskCancelled) when it ended otherwise, TimeoutError when it has not ended.
        """
        return self.task.get_backend().wait(self, timeout)

    async def aget(self, timeout: float | None = None) -> Any:
        """As ``get()``, without blocking the event loop."""
        return await self.task.get_backend().await_(self, timeout)

    def cancel(self) -> bool:
        """Cancels the job; whether it could be.

        A job that is not running is cancelled at once; a running one is asked to stop and becomes
        cancelled when its code has. False when it had ended before.
        """
        return self.task.get_backend().cancel(self)  # type: ignore[no-any-return]

    async def acancel(self) -> bool:
        """As ``cancel()``."""
        return await self.task.get_backend().acancel(self)  # type: ignore[no-any-return]

    def retry(self) -> bool:
        """Puts an ended job, or one that backs off, in line again; whether it could be."""
        return self.task.get_backend().retry(self)  # type: ignore[no-any-return]

    async def aretry(self) -> bool:
        """As ``retry()``."""
        return await self.task.get_backend().aretry(self)  # type: ignore[no-any-return]


_set = {name: getattr(TaskResult, name).__set__ for name in TaskResult.__dataclass_fields__}
_UNKNOWN = [
    (_set[name], None)
    for name in ("enqueued_at", "started_at", "finished_at", "last_attempted_at", "_return_value")
]


def fresh_result(
    id: str, args: list[Any], kwargs: dict[str, Any], common: dict[str, Any]
) -> TaskResult:
    """The result of a job that was just made; ``common`` are the fields its call shares.

    A frozen dataclass sets every field through ``object.__setattr__``, which is half of what
    making a job costs; this sets the slots themselves.
    """
    result = object.__new__(TaskResult)
    _set["id"](result, id)
    _set["args"](result, args)
    _set["kwargs"](result, kwargs)
    _set["errors"](result, [])
    _set["worker_ids"](result, [])
    _set["duplicate"](result, False)
    for assign, value in _UNKNOWN:
        assign(result, value)
    for name, value in common.items():
        _set[name](result, value)
    return result
