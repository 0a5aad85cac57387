"""``taskq doctor`` and the commands that read, on queues that are sound and on broken ones."""

from __future__ import annotations

import io
import json
import re
import sys
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_taskq import doctor as module
from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from django_taskq.broker.doorbell import Ear
from django_taskq.broker.inspector import Inspector
from django_taskq.broker.roster import Process, Record, Roster
from django_taskq.broker.sweep import CHECKS
from django_taskq.doctor import Doctor, duration
from django_taskq.management.commands import _output
from tests.broker.helpers import (
    DAY,
    LEASE,
    Child,
    corrupt,
    dump,
    parked,
    put,
    seed,
    states,
)
from tests.conftest import FakeTime
from tests.engine.proxy import proxied
from tests.engine.support import configured
from tests.engine.tasks import narrow, nothing

NOWHERE = "redis://user:secret@127.0.0.1:1/0"


class Answer:
    """What a command printed, and how it left."""

    def __init__(self, *words: str, **options: Any) -> None:
        out = io.StringIO()
        with pytest.raises(SystemExit) as left:
            call_command("taskq", *words, stdout=out, no_color=True, **options)
        self.code = left.value.code
        self.text = out.getvalue()

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody works here meanwhile: the second look need not wait."""
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


@pytest.fixture
def jobs(backend: RedisBackend) -> Broker:
    """The default backend's broker, whose queue "q" is known and broken by each test."""
    backend.broker.number("q")
    return backend.broker


# -- doctor ----------------------------------------------------------------------------------------


def test_sound_queues_are_said_to_be_sound(backend: RedisBackend) -> None:
    nothing.enqueue()

    answer = Answer("doctor")

    assert answer.code == 0
    assert answer.text.splitlines() == ["ok       default: nothing is wrong", "All is well."]


def test_there_may_be_no_queues_yet(backend: RedisBackend) -> None:
    answer = Answer("doctor")

    assert (answer.code, answer.text) == (0, "There are no queues yet.\n")


def test_every_kind_of_orphan_is_reported(jobs: Broker, clock: FakeTime) -> None:
    clock.now = 1_000_000  # long ago
    with times(jobs, clock):
        corrupt(jobs)
    before = dump(jobs)

    answer = Answer("doctor", "--json")

    assert answer.code == 1
    assert dump(jobs) == before
    assert answer.json["healthy"] is False
    found = {each["name"]: each for each in answer.json["findings"]}
    assert set(CHECKS) <= set(found)
    assert found["lost"] == {
        "level": "error",
        "queue": "q",
        "name": "lost",
        "message": "jobs in no state that have not ended: 1",
        "hint": f"--fix: {CHECKS['lost'].mended}.",
        "count": 1,
        "examples": ["lost"],
        "mended": False,
    }


def test_every_kind_of_orphan_is_mended(jobs: Broker, clock: FakeTime) -> None:
    with times(jobs, clock):
        corrupt(jobs)
        clock.forward(DAY)
        answer = Answer("doctor", "--fix", "--queues", "q")
        again = Answer("doctor", "--fix", "--json")

    lines = answer.text.splitlines()
    assert "mended   q: jobs in no state that have not ended: 1" in lines
    assert {line[:8] for line in lines[:-1] if line[0] != " "} <= {
        "ok      ",
        "mended  ",
        "warning ",
        "error   ",
    }
    left = {each["name"] for each in again.json["findings"] if each["level"] != "ok"}
    assert left & set(CHECKS) == set()
    back = ["asking", "double", "lost", "stranded", "unheld", "unparked"]
    assert sorted(states(jobs)["ready"]) == back


@contextmanager
def times(broker: Broker, clock: FakeTime) -> Any:
    """A block in which the broker has the test's clock."""
    broker._now = clock
    try:
        yield
    finally:
        broker._now = None


def test_examples_are_few(jobs: Broker) -> None:
    ids = [f"job-{number}" for number in range(300)]
    put(jobs, ids)
    jobs.server.command("ZREM", jobs.key("q", "ready"), *ids)

    answer = Answer("doctor")

    (line,) = [line for line in answer.text.splitlines() if "in no state" in line]
    assert line == "error    q: jobs in no state that have not ended: 300"
    shown = answer.text.splitlines()[answer.text.splitlines().index(line) + 1]
    assert shown.count("job-") == 5
    assert shown.endswith(", ...")


def test_an_id_does_not_speak_to_the_terminal(jobs: Broker) -> None:
    put(jobs, ["\x1b]0;title\x07"])
    jobs.server.command("DEL", jobs.key("q", "ready"))

    assert "\x1b" not in Answer("doctor").text


def test_a_token_that_is_taken_at_this_moment_is_no_finding(
    jobs: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(jobs, "a")
    jobs.server.command("DEL", jobs.key("q", "wake"))
    token = ("RPUSH", jobs.key("q", "wake"), "1")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: jobs.server.command(*token))

    assert "wake nobody" not in Answer("doctor").text


def findings(broker: Broker, settings: list[str], **options: Any) -> dict[str, Any]:
    """The problems of queue "q", by name."""
    doctor = Doctor(broker, settings, **options)
    return {each.name: each for each in doctor.examine(["q"]) if each.level != "ok"}


def test_jobs_in_a_queue_that_is_not_in_settings(broker: Broker) -> None:
    put(broker, "ab")

    assert findings(broker, ["default"])["not-in-settings"].count == 2
    assert "not-in-settings" not in findings(broker, ["q"])
    assert "not-in-settings" not in findings(broker, [])


def test_an_empty_queue_need_not_be_in_settings(broker: Broker) -> None:
    seed(broker, succeeded="a")

    assert findings(broker, ["default"]) == {}


def test_ready_jobs_and_no_worker(broker: Broker, clock: FakeTime) -> None:
    put(broker, "a")  # enqueued in 1970

    assert findings(broker, [])["not-served"].examples == ("a",)

    Child(broker).exchange()
    assert findings(broker, []) == {}
    clock.forward(LEASE)
    assert "not-served" in findings(broker, [])


def test_a_paused_queue_is_meant_to_rest(broker: Broker) -> None:
    put(broker, "a")
    broker.server.command("HSET", broker.key("q", "meta"), "paused", 1)

    assert findings(broker, []) == {}


def test_due_jobs_that_nobody_moves(broker: Broker, clock: FakeTime) -> None:
    put(broker, "a", due=clock.now + 1000)
    clock.forward(61_000)
    assert findings(broker, []) == {}

    clock.forward(1)

    assert "due for 60 s" in findings(broker, [])["late"].message


def test_jobs_of_unknown_tasks(broker: Broker) -> None:
    put(broker, "abc")
    names = ["old.tasks.gone", "old.tasks.gone", nothing.module_path]
    grants = Child(broker).claim(3)
    broker.park("q", [parked(grant, name) for grant, name in zip(grants, names, strict=True)])

    found = findings(broker, [])

    assert list(found) == ["unknown-task"]
    assert found["unknown-task"].count == 2
    assert "old.tasks.gone" in found["unknown-task"].message


def test_leases_that_nobody_reaps(broker: Broker, clock: FakeTime) -> None:
    put(broker, "ab")
    for name in ("first", "second"):
        Child(broker, name).claim()
    clock.forward(LEASE + 59_999)
    assert findings(broker, []) == {}  # workers have a minute for it

    clock.forward(1)
    found = findings(broker, [])["lapsed"]
    assert (found.level, found.count, found.mended) == ("error", 2, False)

    assert findings(broker, [], fix=True)["lapsed"].mended
    assert sorted(states(broker)["ready"]) == ["a", "b"]
    assert "lapsed" not in findings(broker, [])


def test_heavy_keys_matter_on_a_cluster(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(broker, succeeded="a")
    monkeypatch.setattr(module, "HEAVY", 10)
    assert findings(broker, []) == {}

    monkeypatch.setattr(broker.server, "is_cluster", True, raising=False)

    assert findings(broker, [])["heavy"].level == "warning"


def test_a_server_that_is_nearly_full(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inspector, "memory", lambda self: (95, 100))

    (finding,) = [each for each in Doctor(broker).examine([]) if each.name == "memory"]

    assert (finding.level, finding.queue) == ("warning", "")
    assert "95%" in finding.message


def test_a_key_that_somebody_else_wrote(jobs: Broker) -> None:
    put(jobs, "a")
    jobs.server.command("SET", jobs.key("q", "live"), "x")
    jobs.number("sound")

    answer = Answer("doctor")

    assert answer.code == 1
    first, _, last, _ = answer.text.splitlines()
    assert first.endswith(":{q}:live is a string, not a hash")
    assert last == "ok       sound: nothing is wrong"


@pytest.mark.parametrize("words", [(), ("--json",), ("--queues", "default")])
def test_a_server_that_is_away_is_a_finding(prefix: str, words: tuple[str, ...]) -> None:
    with override_settings(TASKS={"default": configured(NOWHERE, prefix, CONNECT_TIMEOUT=0.01)}):
        answer = Answer("doctor", *words)

    assert answer.code == 1
    assert "127.0.0.1:1" in answer.text
    assert "secret" not in answer.text


def test_a_server_that_goes_away_meanwhile_is_a_finding(jobs: Broker, url: str) -> None:
    put(jobs, [f"job-{number}" for number in range(300)])
    with proxied(url) as proxy:
        server = Server(proxy.url, 0.05)
        found = Doctor(Broker(server, jobs.prefix)).examine(["q", "q"])
        first = next(found)
        proxy.go_away()
        names = [first.name, *(each.name for each in found)]
        server.close()

    assert names[-1] == "unreachable"
    assert names.count("unreachable") == 1


# -- options ---------------------------------------------------------------------------------------


def test_a_queue_that_is_not_there_is_named_with_the_nearest(backend: RedisBackend) -> None:
    with pytest.raises(CommandError, match="did you mean 'critical'"):
        call_command("taskq", "doctor", "--queues", "critcal")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["doctor", "--fx"], "'--fix'"),
        (["queues", "--jsno"], "'--json'"),
        (["worker", "--concurency", "3"], "'--concurrency'"),
    ],
)
def test_an_unknown_option_is_named_with_the_nearest(
    backend: RedisBackend, words: list[str], meant: str
) -> None:
    with pytest.raises(CommandError, match=f"did you mean {meant}"):
        call_command("taskq", *words)


@pytest.mark.parametrize("verb", ["doctor", "queues", "stats", "workers", "limits"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command("taskq", verb, "--help")

    assert "--json" in capsys.readouterr().out


# -- reads -----------------------------------------------------------------------------------------


def test_queues(backend: RedisBackend) -> None:
    nothing.enqueue()
    nothing.using(queue_name="critical", run_after=60).enqueue()

    rows = {row["queue"]: row for row in Answer("queues", "--json").json}

    assert (rows["default"]["ready"], rows["critical"]["scheduled"]) == (1, 1)
    assert rows["default"]["processes"] == 0
    header, *lines = Answer("queues").text.splitlines()
    assert header.split()[:4] == ["queue", "waiting", "scheduled", "ready"]
    assert [line.split()[0] for line in lines] == ["critical", "default"]


def test_stats(backend: RedisBackend) -> None:
    nothing.enqueue_many([()] * 3)

    found = Answer("stats", "--json").json

    assert (found["queues"], found["ready"], found["dead"]) == (1, 3, 0)
    assert found["bytes"] > 100
    assert "ready" in Answer("stats").text


def test_workers(jobs: Broker) -> None:
    Child(jobs, "one").claim()
    Child(jobs, "two").claim()

    rows = Answer("workers", "--json").json

    assert [row["process"].rstrip("-") for row in rows] == ["one", "two"]
    assert all(0 < row["lease_ms"] <= LEASE for row in rows)
    assert all(row["queues"] == "q" for row in rows)


def test_a_worker_without_processes_is_listed_too(jobs: Broker) -> None:
    """One that is quiet is told to resume by its id, and here is where one finds that."""
    child = Child(jobs, "one")
    child.claim()
    processes = [Process(child.holder, 8, 6)]
    busy = Record("web", 7, "1", 5, "running", {"q": 1}, 10, processes=processes)
    quiet = Record("web", 9, "1", 5, "quiet", {"a": 1, "b": 1}, 10, 3 << 20, attempts=4, failed=1)
    Roster(jobs).enroll("busy", busy, LEASE)
    Roster(jobs).enroll("quiet", quiet, LEASE)

    rows = Answer("workers", "--json").json

    assert [(row["worker"], row["process"]) for row in rows] == [
        ("busy", child.holder),
        ("quiet", ""),
    ]
    told = rows[1]
    assert (told["lease_ms"], told["queues"], told["state"]) == (None, "a,b", "quiet")
    assert (told["pid"], told["slots"], told["memory_mb"]) == (9, "0/0", 3)
    assert (told["attempts"], told["failed"]) == (4, 1)
    assert "None" not in Answer("workers").text


def test_an_order_to_one_that_does_not_report_is_doubted(jobs: Broker) -> None:
    vanished = Record("web", 9, "1", 5, "running", {"q": 1}, 10, stands=80_000)
    Roster(jobs).enroll("gone", vanished, 20_000)
    Roster(jobs).enroll("here", vanished, 80_000)
    ear = Ear(jobs.server, jobs.control)
    ear.open()

    gone, here = (Answer("workers", "--stop", name).text for name in ("gone", "here"))
    told: list[str] = []
    while len(told) < 2:
        told += ear.messages()
    ear.close()

    assert re.fullmatch(r"Worker gone was told so, but has not reported for 6\d s: .+\n", gone)
    assert here == "Worker here stops.\n"
    assert told == ["worker gone stop", "worker here stop"]


def test_limits(backend: RedisBackend) -> None:
    narrow.enqueue_many([(n,) for n in range(5)])
    Child(backend.broker, queue="default").claim(10)

    assert Answer("limits", "--json").json == [
        {
            "queue": "default",
            "limit": f"task:{narrow.module_path}",
            "waiting": 3,
            "inside": 2,
            "opens_ms": -1,
            "concurrency": 2,
            "rate": None,
            "burst": None,
            "by_hand": "no",
            "numbers_of": f"task:{narrow.module_path}",
        }
    ]
    assert Answer("queues", "--json").json[0]["at_limits"] == 3
    (finding,) = [f for f in Answer("doctor", "--json").json["findings"] if f["queue"]][:1]
    assert (finding["level"], finding["name"], finding["count"]) == ("ok", "at-limits", 3)
    assert finding["examples"] == [f"task:{narrow.module_path} (3)"]
    assert "limit" in Answer("limits").text


def test_nothing_is_limited(jobs: Broker) -> None:
    assert Answer("limits").text == "There are none.\n"


def test_nobody_works(jobs: Broker) -> None:
    assert Answer("workers").text == "There are none.\n"


@pytest.mark.parametrize("verb", ["queues", "stats", "workers", "limits"])
def test_reads_say_that_redis_is_away(prefix: str, verb: str) -> None:
    with (
        override_settings(TASKS={"default": configured(NOWHERE, prefix, CONNECT_TIMEOUT=0.01)}),
        pytest.raises(CommandError, match="cannot be reached"),
    ):
        call_command("taskq", verb)


# -- output ----------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_far_it_is(broker: Broker) -> None:
    put(broker, [f"job-{number}" for number in range(500)])
    screen = Terminal()

    list(Doctor(broker, progress=_output.progress_on(screen)).examine(["q"]))

    assert "q" in screen.getvalue()


def test_a_file_sees_no_bar() -> None:
    assert _output.progress_on(io.StringIO()) is module.silent


def test_without_rich_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)

    assert _output.progress_on(Terminal()) is module.silent


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 s"),
        (90_000, "90 s"),
        (720_000, "12 min"),
        (3 * 3_600_000, "3 h"),
        (DAY * 4, "4 days"),
    ],
)
def test_durations(ms: int, text: str) -> None:
    assert duration(ms) == text
