"""The laws that hold for every script: its header, its edges, and the keys that it touches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any
from uuid import uuid4

import pytest
import redis

from django_taskq import broker as broker_package
from django_taskq.asks import NOTHING, gate
from django_taskq.broker import scripts
from django_taskq.broker.almanac import Almanac, Tick, Ticked
from django_taskq.broker.audit import Audit
from django_taskq.broker.broker import LOST_LIMIT, Broker, Draft, Limits
from django_taskq.broker.connection import Server
from django_taskq.broker.inspector import Gate, Inspector, Look, Match, rota
from django_taskq.broker.keys import GLOBAL_KEYS, QUEUE_KEYS, global_key
from django_taskq.broker.listening import Listener, audience
from django_taskq.broker.releases import Releases
from django_taskq.broker.roster import Record, Roster
from django_taskq.broker.steering import Limited, Steering
from django_taskq.broker.sweep import CHECKS
from django_taskq.broker.triage import Triage
from django_taskq.exceptions import BrokerError
from django_taskq.frames import Fingerprint
from django_taskq.job import ENDED, TRANSITIONS, UNFINISHED, State
from django_taskq.limits import Limit, Rate
from tests.broker.helpers import (
    DAY,
    ENVELOPE,
    FAILURE,
    LEASE,
    QUEUE,
    TASK,
    WINDOW,
    Child,
    ServerAs,
    asked,
    at_once,
    corrupt,
    draft,
    holder_id,
    outcome,
    parked,
    put,
    put_asking,
    seed,
    seed_all,
    take_token,
    vanish,
    verdicts,
    without_envelope,
)

NAMES = scripts.names()
every_script = pytest.mark.parametrize("name", NAMES)

# They make a full Redis fuller.
MAY_BE_REFUSED = {"enqueue", "retry", "replace", "register", "tick", "edit", "report"}
UNBOUNDED = {
    *("KEYS", "SCAN", "RANDOMKEY", "DBSIZE", "SORT"),
    *("SMEMBERS", "HGETALL", "HKEYS", "HVALS", "SUNION", "SINTER", "ZUNION", "ZINTER"),
    *("FLUSHDB", "FLUSHALL", "EVAL", "FCALL", "PUBLISH"),
}


def text_of(name: str) -> str:
    return (files(broker_package) / "lua" / f"{name}.lua").read_text("utf-8")


def body_of(name: str) -> str:
    """The code below the header, without comments."""
    below = text_of(name).split("\n", 2)[2]
    return re.sub(r"--[^\n]*", "", below)


CODE = {name: body_of(name) for name in NAMES} | {
    name: re.sub(r"--[^\n]*", "", text_of(name)) for name in scripts.LIBRARIES
}


def sent_of(name: str) -> str:
    """The code as it is sent, with what it takes from libraries, below the line of keys."""
    return re.sub(r"--[^\n]*", "", scripts.load(name).source.split("\n", 2)[2])


WEEK = 7 * DAY
every_code = pytest.mark.parametrize("name", sorted(CODE))


# -- header ----------------------------------------------------------------------------------------


@every_script
def test_the_first_line_says_whether_a_full_redis_refuses_it(name: str) -> None:
    first = text_of(name).split("\n", 1)[0]

    assert first == ("#!lua" if name in MAY_BE_REFUSED else "#!lua flags=allow-oom")


def test_those_that_may_be_refused_are_scripts() -> None:
    assert set(NAMES) >= MAY_BE_REFUSED


@every_script
def test_the_header_is_read_as_it_is_written(name: str) -> None:
    script = scripts.load(name)
    header = text_of(name).split("\n")[1]

    assert header.startswith(f"-- {name} | keys: {' '.join(script.keys)} | edges: ")
    assert len(script.keys) == len(set(script.keys))
    assert set(script.keys) <= {*QUEUE_KEYS, *GLOBAL_KEYS}


@every_script
def test_the_header_tells_arguments_and_reply(name: str) -> None:
    comment = [line for line in text_of(name).split("\n")[2:] if line.startswith("--")]

    assert any(line.startswith("-- ARGV: ") for line in comment)
    assert any(line.startswith("-- Reply: ") for line in comment)


@every_script
def test_a_script_touches_one_queue_or_one_global_key(name: str) -> None:
    keys = set(scripts.load(name).keys)

    assert keys <= set(QUEUE_KEYS) or (len(keys) == 1 and keys <= set(GLOBAL_KEYS))


# -- edges -----------------------------------------------------------------------------------------


@every_script
def test_the_edges_are_those_of_the_state_machine(name: str) -> None:
    assert scripts.load(name).edges == TRANSITIONS.get(name, frozenset())


def test_every_row_of_the_state_machine_is_a_script() -> None:
    moving = {name for name in NAMES if "edges: none" not in text_of(name).split("\n")[1]}

    assert moving == set(TRANSITIONS)


EDGES = sorted({(name, *edge) for name, edges in TRANSITIONS.items() for edge in edges})


@pytest.mark.parametrize(("name", "start", "end"), EDGES)
def test_every_edge_runs_between_known_states(name: str, start: str, end: str) -> None:
    states = {state.value for state in State}

    assert start in {*states, "new"}
    assert end in {*states, "gone"}
    assert start != end


@pytest.mark.parametrize(("name", "start", "end"), EDGES)
def test_a_script_declares_the_states_of_its_edges(name: str, start: str, end: str) -> None:
    assert {start, end} - {"new", "gone"} <= set(scripts.load(name).keys)


@pytest.mark.parametrize("state", State)
def test_every_state_is_entered_and_left(state: State) -> None:
    assert any(end == state for _, _, end in EDGES)
    assert any(start == state for _, start, _ in EDGES)


@pytest.mark.parametrize("state", sorted(ENDED))
def test_an_ended_job_only_goes_unless_it_is_retried(state: State) -> None:
    moves = {(name, end) for name, start, end in EDGES if start == state}

    assert moves - {("sweep", "gone")} == {  # it deletes what has lost its envelope
        ("retry", "ready"),
        ("retry", "scheduled"),
        ("exchange", "gone"),
        ("trim", "gone"),
        ("delete", "gone"),
    }


@pytest.mark.parametrize("state", sorted(UNFINISHED))
def test_an_unfinished_job_is_never_just_deleted(state: State) -> None:
    assert not [end for _, start, end in EDGES if start == state and end == "gone"]


def test_a_job_runs_only_by_being_claimed() -> None:
    assert {(name, start) for name, start, end in EDGES if end == "running"} == {
        ("exchange", "ready"),
        ("sweep", "new"),  # one that was claimed and fell out of every state
    }


# -- keys ------------------------------------------------------------------------------------------


@every_script
def test_every_declared_key_is_used(name: str) -> None:
    unused = [key for key in scripts.load(name).keys if not re.search(rf"\b{key}\b", sent_of(name))]

    # rights touches nothing, and has to be sent to where the queue is.
    assert unused == (["meta"] if name == "rights" else [])


@every_script
def test_every_key_that_the_code_names_is_declared(name: str) -> None:
    named = set(re.findall(r"(?:redis\.call|send)\(\s*'\w+', (\w+)", sent_of(name)))
    variables = {"set", "key", "rest"}  # which hold a declared one

    assert named - variables <= set(scripts.load(name).keys)


@every_script
def test_no_key_is_built_in_a_script(name: str) -> None:
    assert "KEYS" not in CODE[name]
    assert not re.search(r"redis\.call\(\s*'\w+',\s*[\w.]+\s*\.\.", CODE[name])


@every_script
def test_all_keys_of_a_queue_lie_in_one_slot(name: str, broker: Broker) -> None:
    script = scripts.load(name)
    keys = broker._call(name, "mail", ()).keys

    assert len(keys) == len(script.keys)
    if set(script.keys) <= set(QUEUE_KEYS):
        assert {re.search(r"\{(.*?)\}", key)[1] for key in keys} == {"mail"}  # type: ignore[index]


@every_code
def test_no_script_reads_without_bounds(name: str) -> None:
    commands = set(re.findall(r"'([A-Z]{3,})'", CODE[name]))

    assert not commands & UNBOUNDED
    assert ", 0, -1" not in CODE[name]


@every_code
def test_every_range_by_score_or_name_has_a_limit(name: str) -> None:
    ranges = re.findall(r"'ZRANGE'(?:,\n|[^\n])*", CODE[name])  # a call goes on behind a comma
    unbounded = [call for call in ranges if "'BY" in call and "'LIMIT'" not in call]

    assert unbounded == []


@every_code
def test_every_walk_says_how_many(name: str) -> None:
    """A cursor of SCAN's kind reads about COUNT members a call."""
    walks = re.findall(r"call\('[HSZ]SCAN'[^\n]*", CODE[name])

    assert all("'COUNT', " in walk for walk in walks)


@every_code
def test_every_command_is_named_where_it_is_called(name: str) -> None:
    """So that whoever writes a user's rights can read them from the scripts."""
    assert not re.search(r"redis\.call\(\s*[^'\s]", CODE[name].replace("redis.call(command,", ""))


@every_code
def test_no_script_reads_json_or_makes_code(name: str) -> None:
    code = CODE[name].replace("pcall(redis.acl_check_cmd,", "")  # raises for an unknown command
    assert not re.search(r"\b(cjson|cmsgpack|loadstring|load|pcall)\b", code)


@every_script
def test_every_script_can_be_loaded(name: str, server: Server) -> None:
    script = scripts.load(name)

    assert server.command("SCRIPT", "LOAD", script.source).decode() == script.sha


@pytest.mark.parametrize(
    "text",
    [
        "-- enqueue | keys: jobs | edges: none\n#!lua\n",
        "#!lua name=enqueue\n-- enqueue | keys: jobs | edges: none\n",
        "#!lua\n-- renew | keys: jobs | edges: none\n",
        "#!lua\n-- enqueue | edges: none\n",
    ],
)
def test_a_file_without_a_proper_header_is_no_script(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "_read", lambda name: text)

    with pytest.raises(ValueError, match=r"lua/enqueue\.lua"):
        scripts.load.__wrapped__("enqueue")


# -- the keys it touches, as Redis sees it ---------------------------------------------------------


@pytest.fixture
def allow(server: Server) -> Iterator[Callable[..., ServerAs]]:
    """Makes the user that may touch exactly the named keys and channels."""
    user = f"u{uuid4().hex[:12]}"
    limited = ServerAs(server.url, user)

    def make(*keys: str) -> ServerAs:
        rights = [right for key in keys for right in (f"%RW~{key}", f"&{key}")]
        try:
            server.command("ACL", "SETUSER", user, "reset", "on", ">secret", "+@all", *rights)
        except redis.ResponseError as error:
            pytest.skip(f"this server has no access rules for keys: {error}")
        return limited

    yield make
    limited.close()
    server.command("ACL", "DELUSER", user)


def ways_of_exchange(full: Broker, limited: Broker, clock: Any) -> None:
    """Every kind of outcome, a cancelled one, a broken one, trimming, and a call sent again."""
    child = Child(full, "child")
    put(full, "SRDCZGX")
    grants = {grant.id: grant for grant in child.claim(7)}
    full.cancel(QUEUE, [("X", TASK)], FAILURE, 0)
    put(full, ["fine", "broken"])
    without_envelope(full, "broken")
    old = {kind: outcome(grants[kind], kind, b"1") for kind in "SRDCZG"}
    child.broker = limited
    child.exchange(5, [*old.values(), outcome(grants["X"], "S")])
    child.again()
    clock.forward(WEEK)
    put(full, ["last"])
    child.holder = holder_id("another")
    (grant,) = [grant for grant in child.claim(3) if grant.id == "last"]
    child.settle(outcome(grant, "S", b"1", DAY), lean=True)


def ways_of_reclaim(full: Broker, limited: Broker, clock: Any) -> None:
    """A job that goes back, one that is given up, one that was to be cancelled."""
    child = Child(full, "child")
    put(full, ["given-up"])
    vanish(full, clock, LOST_LIMIT)
    put(full, ["back", "called-off"])
    child.claim(3)
    full.cancel(QUEUE, [("called-off", TASK)], FAILURE, 0)
    clock.forward(LEASE)
    limited.reclaim(QUEUE, child.holder, FAILURE)
    limited.reclaim(QUEUE, "", FAILURE)


def ways_of_park(full: Broker, limited: Broker, clock: Any) -> None:
    grants = seed(full, running="a b")
    full.cancel(QUEUE, [("b", TASK)], FAILURE, 0)
    assert limited.park(QUEUE, [parked(grant) for grant in grants.values()]) == "OC"


def ways_of_renew(full: Broker, limited: Broker, clock: Any) -> None:
    """Something to say about everything, after an outage."""
    seed_all(full)
    full.cancel(QUEUE, [("running", TASK)], FAILURE, 0)
    limited.renew([QUEUE], [holder_id("seeder")], LEASE)
    clock.forward(LEASE - 1)
    (answer,) = limited.renew([QUEUE], [holder_id("seeder")], LEASE).values()
    assert answer.parked
    assert answer.stops


def ways_of_trim(full: Broker, limited: Broker, clock: Any) -> None:
    grants = seed(full, running="a b c")
    kinds = zip(grants.values(), "SDC", strict=True)
    Child(full, "seeder").settle(*[outcome(grant, kind, b"1") for grant, kind in kinds])
    clock.forward(DAY)
    assert limited.trim(QUEUE) == 3


def ways_of_cancel(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    limited.cancel(QUEUE, [(state.value, TASK) for state in State], FAILURE, 0)


def ways_of_retry(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    letters = limited.retry(QUEUE, [*State], clock.now + 1)
    assert sorted(letters) == sorted("EOEEOOOO")
    clock.forward(1)
    full.promote(QUEUE, "keeper")
    Child(full).claim(10)
    seed(full, dead="again")
    assert limited.retry(QUEUE, ["again"]) == "O"


def ways_of_delete(full: Broker, limited: Broker, clock: Any) -> None:
    """Some that go at once, one that ended just now."""
    seed_all(full)
    clock.forward(WINDOW)
    full.cancel(QUEUE, [("ready", TASK)], FAILURE, DAY)
    assert Steering(limited).delete(QUEUE, [*State]) == "EEWEEOOO"


def ways_of_peek(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    assert [row.state for row in Inspector(limited).peek(QUEUE, [*State])] == [*State]


def ways_of_advance(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    assert Steering(limited).advance(QUEUE, ["scheduled", "retrying"]) == "OO"


def ways_of_prioritize(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    assert Steering(limited).prioritize(QUEUE, [*State], 7) == "OOOOOEEE"


def ways_of_edit(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    letters = [Steering(limited).edit(QUEUE, id, ENVELOPE, b"[]") for id in State]
    assert letters == ["O", "O", "O", "R", "O", "O", "O", "O"]


def ways_of_unlock(full: Broker, limited: Broker, clock: Any) -> None:
    put_asking(full, ["a"], asked(lock="x"))
    assert Steering(limited).unlock(QUEUE, "a", "b") == "G"
    assert Steering(limited).unlock(QUEUE, "a", "a") == "O"
    assert Steering(limited).unlock(QUEUE, "b", "a") == "U"


def ways_of_needs(full: Broker, limited: Broker, clock: Any) -> None:
    put_asking(full, "ab", asked(at_once(1)))
    put_asking(full, ["c"], asked(lock="x", key="k"))
    Child(full).claim(5)
    for id, wanted in {"a": b"g", "c": b"k", "d": None}.items():
        reply = limited.server.call(limited.operator_call("needs", QUEUE, (id,), timed=True))
        assert (wanted in reply) if wanted else not reply


def ways_of_pause(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    Steering(limited).pause(QUEUE, b"{}")
    assert Inspector(full).queue(QUEUE).paused
    Steering(limited).resume(QUEUE)


def ways_of_tally(full: Broker, limited: Broker, clock: Any) -> None:
    for number in range(101):
        Steering(limited).note(QUEUE, f"{number}", b"{}")


def ways_of_tallies(full: Broker, limited: Broker, clock: Any) -> None:
    Steering(full).note(QUEUE, "a", b"{}")
    assert [tally.id for tally in Inspector(limited).tallies([QUEUE])[QUEUE]] == ["a"]


def ways_of_scan(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    for state in State:
        page = Inspector(limited).page([QUEUE], state)
        assert [row.id for row in page.rows] == [state]
    found = Inspector(limited).search({(QUEUE, State.DEAD): 1}, [Match((TASK,), "1", "Boom")])
    assert [row.id for row in found.rows] == ["dead"]
    clock.forward(10)
    ran = Match(holder="seeder", tried=1, took=10)
    found = Inspector(limited).search({(QUEUE, State.RUNNING): 1}, [ran])
    assert [row.id for row in found.rows] == ["running"]


def ways_of_position(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    reply = limited.server.call(
        limited.operator_call("position", QUEUE, ("ready", holder_id("seeder")), timed=True)
    )
    assert reply[1] == 0
    assert float(reply[3]) == clock.now + LEASE


def ways_of_release(full: Broker, limited: Broker, clock: Any) -> None:
    seed(full, waiting="a b")
    clock.forward(DAY)
    assert limited.release(QUEUE, TASK) == 2


def ways_of_promote(full: Broker, limited: Broker, clock: Any) -> None:
    seed(full, scheduled="a", retrying="b")
    clock.forward(2 * DAY)
    assert limited.promote(QUEUE, "keeper").moved == 2


def ways_of_enqueue(full: Broker, limited: Broker, clock: Any) -> None:
    limited.enqueue(QUEUE, [draft("now", 3), draft("later", 3, -DAY), draft("now", 0, 0, DAY)])
    ask = asked(at_once(1), lock="lock", ttl=DAY, key="key")
    assert put_asking(limited, ["asks", "another"], ask) == "NU asks"


def ways_of_replace(full: Broker, limited: Broker, clock: Any) -> None:
    ask = asked(at_once(1), lock="lock")
    put_asking(full, ["a"], ask)
    put_asking(full, ["b"], asked(at_once(1), lock="other", key="key"))
    Child(full).claim(2)  # b waits at the gate
    jobs = [draft(id)._replace(ask=asked(at_once(1), lock=lock)) for id, lock in LOCKS.items()]
    assert limited.replace(QUEUE, jobs) == "RO"
    later = [job._replace(due=-DAY) for job in jobs]
    assert limited.replace(QUEUE, later) == "RO"


LOCKS = {"a": "lock", "b": "other"}


def ways_of_fetch(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    assert all(job.state == job.state for job in limited.fetch(QUEUE, [*State, "unknown"]))


def ways_of_held(full: Broker, limited: Broker, clock: Any) -> None:
    child = Child(full)
    put(full, "ab")
    child.claim(2)
    assert sorted(limited.held(QUEUE, child.holder)) == ["a", "b"]


def ways_of_report(full: Broker, limited: Broker, clock: Any) -> None:
    put(full, "a")
    (grant,) = Child(full).claim()
    assert limited.report(QUEUE, [("a", grant.live.fence, b"{}"), ("b", 1, b"{}")]) == "OS"


def ways_of_sweep(full: Broker, limited: Broker, clock: Any) -> None:
    """Everything that can be mended."""
    corrupt(full)
    clock.forward(DAY)
    kinds = {kind for chunk in limited.walk(QUEUE, mend=True) for kind in chunk.found}
    take_token(full)
    assert kinds | set(limited.sweep(QUEUE, "wake").found) == set(CHECKS)
    limited.sweep(QUEUE)


def ways_of_history(full: Broker, limited: Broker, clock: Any) -> None:
    for grant in seed(full, running="a b").values():
        Child(full, "seeder").settle(outcome(grant, "S", task="t"))
        clock.forward(60_000)
    assert Inspector(limited).tasks([QUEUE], 60_000, 3)["t"] == {"S": 2}
    look = Look(86_400_000, 90)
    assert len(look.steps(Inspector(limited).past([QUEUE], look)[0])) == 90


def ways_of_survey(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    clock.forward(2 * DAY)
    assert Inspector(limited).queue(QUEUE).late > 0


def ways_of_gates(full: Broker, limited: Broker, clock: Any) -> None:
    narrow = gate("g", "g", 1, None)
    full.enqueue(QUEUE, [Draft(id, ENVELOPE, ask=NOTHING + narrow) for id in "ab"])
    Child(full).claim(5)
    found = Inspector(limited).limits(QUEUE, ["g"])
    assert found.gates == [Gate("g", "g", 1, 1, -1)]
    assert [state.name for state in found.found] == ["g"]


def ways_of_rota(full: Broker, limited: Broker, clock: Any) -> None:
    put_asking(full, "ab", asked(key="k"))
    reply = limited.server.call(rota.call(limited, QUEUE))
    assert rota.rota_in(reply).shares == [rota.Share("k", 2)]


def ways_of_limit(full: Broker, limited: Broker, clock: Any) -> None:
    """Those who wait at a gate, at a rate, and at one that stays shut."""
    steering = Steering(limited)
    hourly = gate("r", "r", None, Rate(1, 3600))
    for ask, ids in ((gate("g", "g", 1, None), "abc"), (hourly, "rst")):
        full.enqueue(QUEUE, [Draft(id, ENVELOPE, ask=NOTHING + ask) for id in ids])
    Child(full).claim(9)
    assert steering.limit(QUEUE, "g", Limit(2)) == Limited("O", 1)
    assert steering.limit(QUEUE, "r", Limit(None, Rate(1, 7200))) == Limited("O", 0)
    assert steering.limit(QUEUE, "g", None) == Limited("O", 0)
    assert steering.limit(QUEUE, "x", None) == Limited("U", 0)


def ways_of_types(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    assert Inspector(limited).wrong_types(QUEUE) == {}


def ways_of_weigh(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    assert Inspector(limited).weights(QUEUE)["jobs"] > 0


def ways_of_rights(full: Broker, limited: Broker, clock: Any) -> None:
    elsewhere = limited.key(QUEUE, "jobs")
    assert limited.rights(QUEUE, ["PING", f"HGET {elsewhere} x"]) == [1]


def ways_of_confirm(full: Broker, limited: Broker, clock: Any) -> None:
    assert limited.server.call(limited.confirm_call(QUEUE)) == 1


def ways_of_tick(full: Broker, limited: Broker, clock: Any) -> None:
    """Every letter, with a record and without."""
    almanac = Almanac(limited)
    due = clock()
    first = [Tick(name, due, due, "skip", 2, draft(name)) for name in "abcd"]
    assert letters_of(almanac.tick(QUEUE, first)) == "NNNN"
    Child(full).claim()
    Almanac(full).steer(QUEUE, "pause", ["a"], 1)
    Almanac(full).steer(QUEUE, "pause", ["b"])
    Almanac(full).steer(QUEUE, "skip", ["c"])
    due = clock.forward(1_000)
    second = [
        Tick("a", due, due, "replace", 0, draft("a2")),
        *(Tick(name, due, due, "skip", 0, draft(f"{name}2", 3, 0, DAY)) for name in "bcd"),
        Tick("d", due, due, "skip", 0, draft("d2")),
        Tick("e", due, due, "", 1),
        Tick("f", due, due + 1, "queue", 0, draft("f")),
        Tick("g", 0, 0, "queue", 0, draft("g")),
    ]
    assert letters_of(almanac.tick(QUEUE, second)) == "RPKOEMTN"


def letters_of(answer: tuple[int, list[Ticked]]) -> str:
    return "".join(ticked.letter for ticked in answer[1])


def ways_of_agenda(full: Broker, limited: Broker, clock: Any) -> None:
    almanac = Almanac(limited)
    assert almanac.agenda(QUEUE, [("a", "0123456789ab"), ("b", "")])[1][1] is None
    assert almanac.agenda(QUEUE, []) == (clock(), [])
    Almanac(full).steer(QUEUE, "pause", ["a"], 1)
    clock.forward(1)
    assert not almanac.agenda(QUEUE, [("a", "0123456789ab")])[1][0].paused  # type: ignore[union-attr]


def ways_of_steer(full: Broker, limited: Broker, clock: Any) -> None:
    almanac = Almanac(limited)
    assert almanac.steer(QUEUE, "pause", ["a", "b"]) == "OO"
    assert almanac.steer(QUEUE, "pause", ["a", "b"], 2 * DAY, b"note") == "OO"
    clock.forward(DAY)
    assert almanac.steer(QUEUE, "resume", ["a", "b"]) == "OO"


def ways_of_retire(full: Broker, limited: Broker, clock: Any) -> None:
    almanac = Almanac(limited)
    Almanac(full).agenda(QUEUE, [("a", "0123456789ab")])
    clock.forward(31 * DAY)
    assert almanac.retire(QUEUE) == ("0", 1)


RECORD = Record("host", 1, "0.1", 0, "running", {QUEUE: 1}, 10)
STANDS = 60_000  # ms; the key lapses in the server's own time


def ways_of_enroll(full: Broker, limited: Broker, clock: Any) -> None:
    roster = Roster(limited)
    assert roster.enroll("gone", RECORD, STANDS)
    clock.forward(STANDS + 1)
    assert roster.enroll("here", RECORD, STANDS)
    assert [worker.id for worker in Roster(full).workers()[1]] == ["here"]
    assert roster.enroll("here", None, 1)
    assert Roster(full).workers()[1] == []


def ways_of_roster(full: Broker, limited: Broker, clock: Any) -> None:
    Roster(full).enroll("here", RECORD, STANDS)
    assert Roster(limited).workers()[1][0].record == RECORD


def ways_of_mark(full: Broker, limited: Broker, clock: Any) -> None:
    first = clock()
    assert Releases(limited).mark("4f2a91c") == first
    clock.forward(1)
    assert Releases(limited).mark("4f2a91c") == first


def ways_of_stack(full: Broker, limited: Broker, clock: Any) -> None:
    assert Roster(limited).tell("holder", "x" * 100_000)
    at, text = Roster(full).told(["holder", "nobody"])["holder"]
    assert (at, len(text)) == (clock(), 65_536)


def ways_of_measure(full: Broker, limited: Broker, clock: Any) -> None:
    put(full, ["a"])
    assert limited.measure(QUEUE) == 1
    clock.forward(60_000)
    assert limited.measure(QUEUE) == 1


def ways_of_audit(full: Broker, limited: Broker, clock: Any) -> None:
    Audit(limited).write("ada", "pause", "queue", [QUEUE])
    call = limited.operator_call("audit", "", (10, "token", b"{}"), timed=False)
    assert [limited.server.call(call), limited.server.call(call)] == [1, 1]
    key = global_key(full.prefix, "audit")
    assert full.server.command("XLEN", key) == 2


def ways_of_triage(full: Broker, limited: Broker, clock: Any) -> None:
    """One that is over goes, one is seen, one is not."""
    group = Fingerprint("builtins.KeyError", "shop.pay", "")
    Triage(full).ignore(group._replace(task="other"), "", "ada", "", 1_000)
    clock.forward(1_000)
    assert Triage(limited).resolve(group, "", "ada")
    assert not Triage(limited).reopen(group, "", "ben")
    (verdict,) = verdicts(Triage(full)).values()
    assert Triage(limited).reopen(group, verdict.token, "ben")


def ways_of_register(full: Broker, limited: Broker, clock: Any) -> None:
    assert limited.number("mail") == 1


def ways_of_listen(full: Broker, limited: Broker, clock: Any) -> None:
    """A first call, one that reads, one that cuts behind itself, and another's."""
    listener = Listener(limited, "mirror", "one")
    assert listener.listen(QUEUE).cut
    put(full, "abc")
    done = listener.listen(QUEUE).entries[-1].place
    assert not listener.listen(QUEUE, done, knows=True).entries
    assert not Listener(limited, "mirror", "other").listen(QUEUE).mine
    full.server.command("DEL", full.key(QUEUE, "events"))
    assert listener.listen(QUEUE).cut


def ways_of_observe(full: Broker, limited: Broker, clock: Any) -> None:
    seed_all(full)
    listener = Listener(limited, "mirror", "one")
    Listener(full, "mirror", "one").listen(QUEUE)
    found = listener.observe(QUEUE, [*State, "unknown"])
    assert [job.state for job in found.jobs] == [*State, None]


def ways_of_audience(full: Broker, limited: Broker, clock: Any) -> None:
    Listener(full, "mirror", "one").listen(QUEUE)
    assert [each.name for each in audience(limited, QUEUE).hearers] == ["mirror"]


def ways_of_unlisten(full: Broker, limited: Broker, clock: Any) -> None:
    Listener(full, "mirror", "one").listen(QUEUE)
    Listener(limited, "mirror", "one").forget(QUEUE)


WAYS = {name.removeprefix("ways_of_"): ways for name, ways in globals().items() if "ways_" in name}


def test_every_script_is_tried_with_its_own_keys_alone() -> None:
    assert sorted(WAYS) == NAMES


@every_script
def test_a_script_touches_no_key_that_it_does_not_declare(
    name: str, broker: Broker, prefix: str, clock: Any, allow: Callable[..., ServerAs]
) -> None:
    keys = broker._call(name, QUEUE, ()).keys
    limited = Broker(allow(*keys, broker.control), prefix, Limits(), clock)

    WAYS[name](broker, limited, clock)  # NOPERM otherwise


def test_a_key_that_is_not_declared_is_noticed(
    broker: Broker, prefix: str, allow: Callable[..., ServerAs]
) -> None:
    keys = broker._call("enqueue", QUEUE, ()).keys
    without_wake = [key for key in keys if not key.endswith(":wake")]
    limited = allow(*without_wake)

    with pytest.raises((redis.ResponseError, BrokerError), match=r"(?i)noperm|no permissions"):
        Broker(limited, prefix).enqueue(QUEUE, [draft("a")])
    refused = (redis.ResponseError, BrokerError)
    with pytest.raises(refused, match=r"NOPERM|No permissions|ACL failure"):
        limited.command("EVAL", "return redis.call('LLEN', ARGV[1])", 0, f"{prefix}:elsewhere")
