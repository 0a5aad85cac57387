"""Jobs that write what they did into a file outside Redis, and jobs that misbehave."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import multiprocessing
import os
import signal
import subprocess
import time
from dataclasses import dataclass

from django.db import connection, transaction
from django.utils import translation

from django_taskq import Cancel, Fail, Rate, Retry, Snooze, log, progress, task
from django_taskq.compat import task_finished
from django_taskq.result import TaskResult

IMPORTED_BY = os.getpid()


def trace(text: str) -> None:
    """Appends a line to the ledger; atomic, whoever writes beside us."""
    ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{text}\n".encode())
    os.close(ledger)


def wait_for(name: str) -> None:
    """Waits until a file of that name stands beside the ledger."""
    while not os.path.exists(f"{os.environ['LEDGER']}.{name}"):
        time.sleep(0.005)


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def note(text: str) -> None:
    trace(text)


@task
def hold(name: str, gate: str) -> str:
    """Runs until the gate opens."""
    trace(f"start {name}")
    wait_for(gate)
    trace(f"end {name}")
    return name


@task
async def ahold(name: str, gate: str) -> str:
    trace(f"start {name}")
    while not os.path.exists(f"{os.environ['LEDGER']}.{gate}"):
        await asyncio.sleep(0.005)
    trace(f"end {name}")
    return name


def tell(gate: str) -> None:
    for done in (1, 2):
        progress(done, 4, f"part {done}")
        log(f"part {done} is done")
    trace("told")
    wait_for(gate)
    progress(4, 4)
    log("all is done")


@task
def report(gate: str) -> None:
    tell(gate)


@task(isolate=True)
def report_apart(gate: str) -> None:
    tell(gate)


@task
async def areport(gate: str) -> None:
    await asyncio.to_thread(tell, gate)


@task(max_attempts=2, backoff=0.01)
def report_and_fail(gate: str) -> None:
    tell(gate)
    raise ValueError("no")


@task
def report_until_told_to_stop() -> None:
    trace("reporting")
    try:
        for done in itertools.count():
            progress(done)
            time.sleep(0.01)
    finally:
        trace("stopped")


@task(max_attempts=3, backoff=0.01)
def fail_twice() -> str:
    trace("attempt")
    with open(os.environ["LEDGER"]) as ledger:
        count = ledger.read().count("attempt")
    if count < 3:
        raise ValueError(f"failure {count}")
    return "at last"


@task(timeout=2, max_attempts=1)
def spin() -> None:
    trace("start spin")
    try:
        while True:
            pass
    except Exception:
        trace("swallowed")


@task(timeout=2, max_attempts=1)
async def aspin() -> None:
    await asyncio.sleep(60)


@task(timeout=2, max_attempts=1)
def deaf() -> None:
    """Blocks in C, where no exception can reach it."""
    trace("start deaf")
    time.sleep(600)


@task
def endless(name: str) -> None:
    trace(f"start {name}")
    while True:
        time.sleep(0.005)


@task
async def aendless(name: str) -> None:
    trace(f"start {name}")
    await asyncio.sleep(600)


@task
def kill_process() -> None:
    """Takes its process down."""
    trace(f"start kill {os.getpid()}")
    os.kill(os.getpid(), signal.SIGKILL)


@task
def leave_with(code: int) -> None:
    """Ends its process as one ends that was told to, and others."""
    trace(f"start leave {code}")
    os._exit(code)


@dataclass
class Deadly:
    """Takes a worker's process down when it is made."""

    name: str

    def __post_init__(self) -> None:
        if "LEDGER" in os.environ:
            trace(f"start {self.name}")
            os.kill(os.getpid(), signal.SIGKILL)


@task
def swallow(deadly: Deadly) -> None:
    """Never begins."""


@task
def pid() -> int:
    return os.getpid()


@task
def language() -> str | None:
    return translation.get_language()


@task
async def alanguage() -> str | None:
    return translation.get_language()


@task(isolate=True)
def isolated_language() -> str | None:
    return translation.get_language()


@task(max_attempts=3, backoff=0.01)
def control(kind: str) -> None:
    trace(f"control {kind}")
    raise {
        "fail": Fail("no use"),
        "cancel": Cancel("no need"),
        "retry": Retry("again", after=0.01),
        "snooze": Snooze(3600),
    }[kind]


@task
def leave_transaction_open() -> bool:
    transaction.set_autocommit(False)
    connection.ensure_connection()
    return connection.in_atomic_block


@task
def leave_atomic_block_open() -> bool:
    transaction.atomic().__enter__()
    return connection.in_atomic_block


@task
def connection_is_usable() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return connection.get_autocommit()


@task(takes_context=True, max_attempts=2, backoff=0.01)
def context(context) -> list:  # type: ignore[no-untyped-def, type-arg]
    if context.attempt == 1:
        raise ValueError("the first")
    result = context.task_result
    return [context.attempt, result.id, [e.exception_class_path for e in result.errors]]


@task
def unreadable_value() -> object:
    trace("ran")
    return object()


@task(timeout=None)
def deaf_for_ever(name: str) -> None:
    """Blocks in C; other threads run on."""
    trace(f"start {name}")
    time.sleep(600)


@task(timeout=2, max_attempts=1)
def hold_the_interpreter() -> None:
    """Blocks in C and lets no other thread run."""
    trace("start holding")
    ctypes.PyDLL(None).sleep(600)


@task(timeout=None)
def hold_the_interpreter_for_ever() -> None:
    trace("start holding")
    ctypes.PyDLL(None).sleep(600)


@task(timeout=None)
def swallow_once(name: str) -> str:
    """Ignores the first request to stop."""
    trace(f"start {name}")
    try:
        while True:
            time.sleep(0.005)
    except BaseException:
        trace(f"swallowed {name}")
    while True:
        time.sleep(0.005)


@task
def bomb() -> None:
    """Holds 100 MB more each tenth of a second, up to 800, and keeps them."""
    trace("start bomb")
    held = []
    for _ in range(8):
        held.append(b"x" * (100 << 20))
        time.sleep(0.1)
    time.sleep(600)


@task(isolate=True)
def apart(a: int, b: int) -> list[int]:
    """The sum, and the processes it was made in."""
    return [a + b, os.getpid(), os.getppid()]


@task(isolate=True)
def apart_tells_who_imported_it() -> list[int]:
    """The process that imported this module, and the one that this one was forked from."""
    return [IMPORTED_BY, os.getppid()]


@task(isolate=True)
async def aapart(a: int) -> int:
    await asyncio.sleep(0.01)
    return a + 1


@task(isolate=True, max_attempts=1)
def apart_fails() -> None:
    raise ValueError("apart")


@task(isolate=True, timeout=2, max_attempts=1)
def apart_spins() -> None:
    trace("start spinning apart")
    while True:
        pass


@task(isolate=True, timeout=None)
async def apart_sleeps(name: str) -> None:
    trace(f"start {name}")
    await asyncio.sleep(600)


@task(isolate=True, timeout=2, max_attempts=1)
def apart_holds() -> None:
    """Blocks in C and hears nothing."""
    trace("start holding apart")
    ctypes.PyDLL(None).sleep(600)


@task(isolate=True)
def apart_crashes() -> None:
    trace("start crashing apart")
    ctypes.string_at(0)


@task(isolate=True)
def apart_holds_its_pid(gate: str) -> int:
    trace(f"pid {os.getpid()}")
    wait_for(gate)
    return os.getpid()


@task(isolate=True, timeout=None)
def apart_holds_for_ever() -> int:
    """Blocks in C and hears nothing, the end of its child least of all."""
    trace(f"pid {os.getpid()}")
    return int(ctypes.PyDLL(None).sleep(600))


@task(isolate=True)
def apart_leaves_a_child_and_dies() -> None:
    """What it forked holds on to the pipe."""
    trace("start forking apart")
    if os.fork() == 0:
        time.sleep(90)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


@task
def look_at_processes(gate: str) -> None:
    """Asks for the exit code of every process that this one has started."""
    trace("start looking")
    while not os.path.exists(f"{os.environ['LEDGER']}.{gate}"):
        multiprocessing.active_children()


@task
def starts_a_program() -> int:
    """The exit code of a program that was told to end."""
    program = subprocess.Popen(["sleep", "30"])
    program.terminate()
    return program.wait()


def at_once(attempt: int, error: BaseException | None) -> float:
    """A retry rule of one's own."""
    trace(f"asked after attempt {attempt}: {type(error).__name__}")
    return 0


@task(timeout=2, max_attempts=2, backoff=at_once)
def deaf_once() -> bool:
    """Blocks in C; when it runs again: whether the process of the first run is dead."""
    with open(os.environ["LEDGER"]) as ledger:
        before = [int(line.split()[1]) for line in ledger if line.startswith("deaf")]
    trace(f"deaf {os.getpid()}")
    if not before:
        time.sleep(600)
    try:
        os.kill(before[0], 0)
    except ProcessLookupError:
        return True
    return False


@task(concurrency_limit=3)
def crowd(name: str, gate: str) -> str:
    """Runs beside two of its kind until the gate opens."""
    trace(f"in {name}")
    wait_for(gate)
    trace(f"out {name}")
    return name


@task(rate_limit=Rate(20, per=1, burst=1))
def paced(n: int) -> None:
    trace(f"at {time.monotonic()}")


@task(fair_by="tenant")
def fair(tenant: str, n: int) -> None:
    trace(f"{tenant} {n}")


@task(unique="until_finished")
def alone(gate: str) -> int:
    trace("in alone")
    wait_for(gate)
    trace("out alone")
    return os.getpid()


def hold_the_interpreter_when_told(task_result: TaskResult, **_: object) -> None:
    """A receiver that takes its time and lets no other thread run."""
    if task_result.task.name == "deaf":
        trace("told")
        ctypes.PyDLL(None).sleep(20)


if os.environ.get("TEST_RECEIVER"):
    task_finished.connect(hold_the_interpreter_when_told)
