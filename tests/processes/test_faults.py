"""What dies under a worker's hands, and what becomes of its jobs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from django_taskq import BrokerFull, TaskFailed
from django_taskq.broker import embedded, keeper
from django_taskq.broker.sockets import find_socket
from django_taskq.compat import task_backends
from django_taskq.job import State
from django_taskq.pool import MOST_SUSPECTS
from tests.conftest import eventually
from tests.engine.proxy import proxied
from tests.processes.app import tasks
from tests.processes.conftest import BRIEF, BRIEF_LEASE, SLOW, WAIT, Station, make_station
from tests.topology.nodes import free_port


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Station]:
    """A station with a server of its own, which the test may restart or fill."""
    home = Path(tempfile.mkdtemp(prefix="tqp-"))
    yield from make_station(tmp_path, f"embedded://{home}", "taskq")
    embedded.stop(home)
    embedded.release(home)
    shutil.rmtree(home, ignore_errors=True)


class Tcp:
    """A server on a port, which can go away and come back."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()  # which nobody takes while the server is away
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._home = home
        self.start()

    def start(self) -> None:
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly yes --dir {self._home}"
        self.process = subprocess.Popen(
            [embedded.server_binary(), *options.split()], stdout=subprocess.DEVNULL
        )
        eventually(self._answers)
        assert self.process.poll() is None, "another server has its port"

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[Tcp]:
    """A server on a loopback port."""
    server = Tcp(tmp_path)
    yield server
    server.stop()


def run_id() -> bytes:
    """Which run of the server this is."""
    answer = task_backends["default"].server.command("INFO", "server")
    return dict(line.split(b":", 1) for line in answer.splitlines() if b":" in line)[b"run_id"]


@pytest.mark.parametrize("attempts", [5, 1])
def test_a_dead_childs_jobs_run_again_at_once_and_uncounted(
    station: Station, attempts: int
) -> None:
    worker = station.worker()
    result = tasks.hold.using(max_attempts=attempts).enqueue("a", "gate")
    station.traced("start a")
    (child,) = worker.children()
    os.kill(child, signal.SIGKILL)
    eventually(lambda: station.lines().count("start a") == 2, WAIT)
    station.open("gate")
    assert result.get(timeout=WAIT) == "a"
    assert result.attempts == 1
    assert "killed by signal 9" in worker.output


def test_a_job_that_kills_its_process_three_times_alone_is_dead(station: Station) -> None:
    worker = station.worker()
    neighbour = tasks.hold.enqueue("n", "gate")
    station.traced("start n")
    result = tasks.kill_process.enqueue()
    cause = r"signal 9 \(SIGKILL.*peak memory (at least )?[1-9]\d* MB\)"
    with pytest.raises(TaskFailed, match=cause):
        result.get(timeout=WAIT)
    assert result.state is State.DEAD
    assert result.attempts == 0
    starts = [line for line in station.lines() if line.startswith("start kill")]
    assert len(starts) == 4, "once beside its neighbour"
    assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2
    eventually(lambda: station.lines().count("start n") == 2)
    station.open("gate")
    assert neighbour.get(timeout=WAIT) == "n"
    assert station.lines().count("start n") == 2, "the others touched nobody"
    assert worker.process.poll() is None


@pytest.mark.parametrize("code", [0, 3, 4, 7])
def test_a_job_that_leaves_with_any_exit_code_is_charged_with_it(
    station: Station, code: int
) -> None:
    """Some are those with which a child leaves of its own will."""
    worker = station.worker()
    result = tasks.leave_with.enqueue(code)

    with pytest.raises(TaskFailed, match=f"exit code {code}"):
        result.get(timeout=WAIT)

    assert station.lines().count(f"start leave {code}") == 4
    assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2
    assert worker.process.poll() is None


def test_jobs_that_crashed_once_wait_for_nobody_but_do_not_start_all_at_once(
    station: Station,
) -> None:
    worker = station.worker("--concurrency", "12")
    names = {f"j{number}" for number in range(10)}
    results = [tasks.hold.enqueue(name, "gate") for name in names]
    station.traced(*(f"start {name}" for name in names))
    os.kill(worker.children()[0], signal.SIGKILL)

    eventually(lambda: len(station.lines()) == 10 + MOST_SUSPECTS, WAIT)
    (child,) = worker.children()
    assert tasks.pid.enqueue().get(timeout=WAIT) == child, "nor does anybody wait for them"
    assert len(station.lines()) == 10 + MOST_SUSPECTS

    station.open("gate")
    assert {result.get(timeout=WAIT) for result in results} == names
    assert {result.attempts for result in results} == {1}


def test_arguments_that_kill_the_process_count_too_and_a_burst_goes_on(station: Station) -> None:
    result = tasks.swallow.enqueue(tasks.Deadly("poison"))
    station.burst()
    result.refresh()
    assert (result.state, result.attempts) == (State.DEAD, 0)
    assert station.lines().count("start poison") == 4


def test_another_worker_takes_over_when_the_lease_is_over(station: Station) -> None:
    first = station.worker(**BRIEF)
    result = tasks.hold.enqueue("a", "gate")
    station.traced("start a")
    second = station.worker()
    first.kill_all()
    killed = time.monotonic()
    station.open("gate")
    assert result.get(timeout=WAIT) == "a"
    assert time.monotonic() - killed < BRIEF_LEASE + 2 + SLOW
    assert result.attempts == 1
    eventually(lambda: "go back" in second.output)


def test_children_do_not_survive_their_supervisor(station: Station) -> None:
    worker = station.worker("--processes", "2")
    tasks.endless.enqueue("x")
    station.traced("start x")
    children = worker.children()
    worker.process.kill()
    worker.process.wait()
    for child in children:
        eventually(lambda pid=child: is_gone(pid), WAIT)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_job_that_ignores_its_timeout_has_failed_and_ends_its_process(station: Station) -> None:
    worker = station.worker()
    beside = tasks.endless.enqueue("beside")
    station.traced("start beside")
    result = tasks.deaf.enqueue()
    with pytest.raises(TaskFailed, match="TaskTimeout"):
        result.get(timeout=WAIT)
    assert (result.state, result.attempts) == (State.DEAD, 1)
    assert station.lines().count("start deaf") == 1
    assert "does not stop" in worker.output
    eventually(lambda: station.lines().count("start beside") == 2)
    beside.refresh()
    assert (beside.state, beside.attempts) == (State.RUNNING, 1)
    assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2


def test_a_child_that_gives_no_sign_of_life_is_replaced(station: Station) -> None:
    worker = station.worker()
    assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2
    (child,) = worker.children()
    os.kill(child, signal.SIGSTOP)
    worker.says("no sign of life")
    assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2
    assert worker.children() != [child]


@pytest.mark.parametrize("args", [[], ["--burst"]])
def test_a_worker_whose_children_cannot_start_gives_up(station: Station, args: list[str]) -> None:
    worker = station.start(*args, TEST_START_METHOD="spawn", TEST_STILLBORN="yes")
    assert worker.wait(90) == 1
    assert "no child of this worker can start" in worker.output
    assert "gives up" in worker.output


def test_a_worker_goes_on_when_its_server_was_restarted(private: Station) -> None:
    worker = private.worker()
    held = tasks.hold.enqueue("a", "gate")
    private.traced("start a")
    before = run_id()
    with suppress(OSError):  # it answers nothing
        keeper.ask(str(find_socket(embedded.parse(private.url).path)), "SHUTDOWN")
    private.open("gate")  # the job ends while somebody starts it again
    private.traced("end a")
    eventually(lambda: run_id() != before)
    assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2
    assert held.get(timeout=WAIT) == "a"
    assert private.lines().count("start a") == 1
    assert worker.process.poll() is None


def test_a_worker_starts_where_the_server_takes_longer_than_a_tenth_of_its_lease(
    station: Station,
) -> None:
    with proxied(station.url) as proxy:
        proxy.flowing.clear()
        patient = json.dumps({"URL": proxy.url, "CONNECT_TIMEOUT": 60, "SOCKET_TIMEOUT": 60})
        worker = station.start(TEST_LEASE="5", TEST_OPTIONS=patient)
        eventually(lambda: proxy.is_used, WAIT)
        time.sleep(1)  # more than half a second
        proxy.flowing.set()
        worker.ready()


def test_a_killed_connection_loses_no_outcome(private: Station) -> None:
    worker = private.worker()
    server = task_backends["default"].server
    results = []
    for n in range(300):
        results.append(tasks.add.enqueue(n, 1))
        if n % 50 == 0:
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert [r.get(timeout=WAIT) for r in results] == [n + 1 for n in range(300)]
    assert worker.process.poll() is None


def test_an_outage_is_said_once_costs_no_cpu_and_ends_by_itself(tcp: Tcp, tmp_path: Path) -> None:
    for station in make_station(tmp_path, tcp.url, "taskq"):
        worker = station.worker(TEST_LEASE="30")
        tasks.add.enqueue(1, 1).get(timeout=WAIT)
        tcp.stop()
        worker.says("goes on when it is back")
        pids = (worker.process.pid, *worker.children())
        began, before = time.monotonic(), cpu_seconds(*pids)
        time.sleep(2)  # what is measured is that nothing happens
        spent = cpu_seconds(*pids) - before
        assert spent < 0.25 * (time.monotonic() - began)
        tcp.start()
        assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2
        worker.says("the exchange with Redis works again")
        assert worker.output.count("goes on when it is back") == 1


def test_an_outage_longer_than_the_lease_loses_no_outcome(tcp: Tcp, tmp_path: Path) -> None:
    for station in make_station(tmp_path, tcp.url, "taskq"):
        worker = station.worker(TEST_LEASE="12")
        result = tasks.hold.enqueue("a", "gate")
        station.traced("start a")
        tcp.stop()
        station.open("gate")
        station.traced("end a")
        worker.says("the lease of .* is over")
        tcp.start()
        assert result.get(timeout=WAIT) == "a"
        assert tasks.add.enqueue(1, 1).get(timeout=WAIT) == 2
        assert station.lines().count("start a") == 1


def test_a_hanging_process_shows_its_stack_while_no_server_is_there(
    tcp: Tcp, tmp_path: Path
) -> None:
    """On stderr: what a person does who looks for the cause of an outage."""
    for station in make_station(tmp_path, tcp.url, "taskq"):
        worker = station.worker(TEST_LEASE="30")
        tasks.hold_the_interpreter_for_ever.enqueue()
        station.traced("start holding")
        tcp.stop()
        worker.says("heartbeat: .* cannot be reached")

        worker.shows("in hold_the_interpreter_for_ever")


def cpu_seconds(*pids: int) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_a_full_server_refuses_new_jobs_and_workers_drain_it(private: Station) -> None:
    server = task_backends["default"].server
    results = tasks.add.enqueue_many([(n, 1) for n in range(200)])
    server.command("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(BrokerFull) as caught:
        tasks.add.enqueue(1, 1)
    private.burst()
    assert results[0].get(timeout=1) == 1
    assert results[-1].get(timeout=1) == 200
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert caught.value.result.id
    assert tasks.add.using(id=caught.value.result.id).enqueue(1, 1).duplicate is False


def test_a_frozen_worker_finds_its_lease_lost_and_records_nothing(station: Station) -> None:
    first = station.worker("--concurrency", "1", **BRIEF)
    result = tasks.hold.enqueue("a", "gate")
    station.traced("start a")
    first.freeze()
    station.worker("--concurrency", "1")
    eventually(lambda: station.lines().count("start a") == 2, WAIT)
    first.thaw()
    first.says("lease")
    station.open("gate")
    assert result.get(timeout=WAIT) == "a"
    assert result.attempts == 1
