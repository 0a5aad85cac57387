"""The result of a job: Django's TaskResult, and what Redis knows beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from . import compat
from .codec import redact
from .compat import TASK_REFRESH_ATTRS, TaskResultStatus
from .job import ENDED, State
from .report import Line, Progress, Report

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


class Unreadable(NamedTuple):
    """Stands for a value that is there and must not, or cannot, be returned."""

    error: type[Exception]
    message: str


REFRESHED = (*TASK_REFRESH_ATTRS, "state", "report")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult(compat.TaskResult):  # type: ignore[misc]
    """A job as it was when this was made; ``refresh()`` looks again.

    ``state`` is the job's own state, finer than Django's ``status``. ``duplicate`` says that
    the job was there before: its id existed, or it has the lock that ``unique`` asks for.
    ``replaced`` says that this enqueue took the place of what it was to do before.
    """

    state: State = State.READY
    duplicate: bool = False
    report: Report | None = None
    replaced: bool = False

    def __post_init__(self) -> None:
        # The arguments went through the codec already: they are JSON.
        pass

    def __repr__(self) -> str:
        """Without the value, and without the arguments that are sensitive."""
        args, kwargs = redact(self.task, self.args, self.kwargs)
        return (
            f"TaskResult(id={self.id!r}, task={self.task.module_path!r}, state={self.state!r}, "
            f"args={args!r}, kwargs={kwargs!r}, backend={self.backend!r})"
        )

    @property
    def return_value(self) -> Any:
        """As Django's. Raises BadSeal or KeyMissing for a value that is not ours to return."""
        value = compat.TaskResult.return_value.fget(self)
        if isinstance(value, Unreadable):
            raise value.error(value.message)
        return value

    @property
    def is_ended(self) -> bool:
        """Whether the job came to an end: succeeded, dead or cancelled."""
        return self.state in ENDED

    @property
    def progress(self) -> Progress | None:
        """How far the job had come, as it told with ``progress()``; None if it told nothing."""
        return None if self.report is None else self.report.progress

    @property
    def log(self) -> list[Line]:
        """What the job's latest attempt wrote with ``log()``: the last 200 lines."""
        return self.report.lines if self.report else []

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

    def kill(self) -> bool:
        """As ``cancel()``, and ends the job's process if its code does not stop by itself.

        What runs beside it in that process is run again, unless its task has ``isolate=True``.
        """
        return self.task.get_backend().kill(self)  # type: ignore[no-any-return]

    async def akill(self) -> bool:
        """As ``kill()``."""
        return await self.task.get_backend().akill(self)  # type: ignore[no-any-return]

    def retry(self) -> bool:
        """Puts an ended job, or one that backs off, in line again; whether it could be."""
        return self.task.get_backend().retry(self)  # type: ignore[no-any-return]

    async def aretry(self) -> bool:
        """As ``retry()``."""
        return await self.task.get_backend().aretry(self)  # type: ignore[no-any-return]


# The slots themselves: a frozen dataclass sets each field through object.__setattr__, which is half
# of what making a job costs.
_slot = {name: getattr(TaskResult, name).__set__ for name in TaskResult.__dataclass_fields__}
_set_task = _slot["task"]
_set_id = _slot["id"]
_set_status = _slot["status"]
_set_enqueued_at = _slot["enqueued_at"]
_set_started_at = _slot["started_at"]
_set_finished_at = _slot["finished_at"]
_set_last_attempted_at = _slot["last_attempted_at"]
_set_args = _slot["args"]
_set_kwargs = _slot["kwargs"]
_set_backend = _slot["backend"]
_set_errors = _slot["errors"]
_set_worker_ids = _slot["worker_ids"]
_set_return_value = _slot["_return_value"]
_set_state = _slot["state"]
_set_duplicate = _slot["duplicate"]
_set_replaced = _slot["replaced"]
_set_report = _slot["report"]
_READY = TaskResultStatus.READY


def fresh_result(
    task: Any, id: str, args: list[Any], kwargs: dict[str, Any], alias: str, state: State
) -> TaskResult:
    """The result of a job that was just made."""
    result = object.__new__(TaskResult)
    _set_task(result, task)
    _set_id(result, id)
    _set_status(result, _READY)
    _set_enqueued_at(result, None)
    _set_started_at(result, None)
    _set_finished_at(result, None)
    _set_last_attempted_at(result, None)
    _set_args(result, args)
    _set_kwargs(result, kwargs)
    _set_backend(result, alias)
    _set_errors(result, [])
    _set_worker_ids(result, [])
    _set_return_value(result, None)
    _set_state(result, state)
    _set_duplicate(result, False)
    _set_replaced(result, False)
    _set_report(result, None)
    return result


def mark_enqueued(result: TaskResult, moment: datetime | None) -> None:
    """Notes in a result of ``fresh_result`` that its job is in Redis."""
    _set_enqueued_at(result, moment)


def mark_duplicate(result: TaskResult, id: str) -> None:
    """Notes in a result that its job is one that was there before."""
    _set_id(result, id)
    _set_duplicate(result, True)


def mark_replaced(result: TaskResult, id: str) -> None:
    """Notes in a result that what it stands for is now what the job that was there does."""
    mark_duplicate(result, id)
    _set_replaced(result, True)


def become(result: TaskResult, other: TaskResult) -> None:
    """Makes a result one of another job."""
    for name, set_slot in _slot.items():
        set_slot(result, getattr(other, name))
