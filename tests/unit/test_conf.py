"""Options of tasks and settings of backends: what is kept, and what is said about the rest."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_taskq import conf
from django_taskq.conf import Options
from django_taskq.exceptions import InvalidOption
from django_taskq.limits import Limit, Rate
from django_taskq.options import TaskOptions, clean, portable, restore
from django_taskq.spelling import nearest
from django_taskq.unique import Unique


class Shortage(ConnectionError):
    pass


SHORTAGE = f"{Shortage.__module__}.Shortage"


# What settings and envelopes can hold.
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


def parse(options: Any = None, **params: Any) -> Options:
    return Options.parse("default", {"BACKEND": "x", "OPTIONS": options, **params})


def only_problem(options: Any = None, **params: Any) -> conf.Problem:
    (problem,) = parse(options, **params).problems
    return problem


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("max_attemps", "did you mean 'max_attempts'?"),
        ("TIMEOUT", "did you mean 'timeout'?"),
        ("xyz", "valid names are max_attempts, timeout"),
        (5, "valid names are max_attempts, timeout"),
    ],
)
def test_the_nearest_name_is_offered(name: Any, said: str) -> None:
    assert nearest(name, ("timeout", "max_attempts")) == said


# --- task options ---------------------------------------------------------------------------------


def test_the_names_are_those_of_the_fields_and_each_can_be_cleaned() -> None:
    names = [field.name for field in dataclasses.fields(TaskOptions)]
    assert list(TaskOptions.NAMES) == names
    defaults = {name: getattr(TaskOptions(), name) for name in TaskOptions.NAMES}
    assert clean(defaults) == defaults


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("max_attempts", None, None),
        ("backoff", [1, timedelta(seconds=2)], (1.0, 2.0)),
        ("retry_on", ValueError, (ValueError,)),
        ("retry_on", [ValueError, "a.B"], (ValueError, "a.B")),
        ("give_up_on", "a.B", ("a.B",)),
        ("timeout", timedelta(minutes=1), 60.0),
        ("timeout", None, None),
        ("expires_in", 5, 5.0),
        ("retention", 0, 0.0),
        ("aliases", ["old.tasks.send", "old.tasks.send"], ("old.tasks.send",)),
        ("tags", ["mail", "größe 2"], ("mail", "größe 2")),
        ("tags", {"b", "a"}, ("a", "b")),
        ("on_commit", False, False),
        ("on_commit", "replica", "replica"),
    ],
)
def test_options_are_kept_in_one_hashable_form(name: str, value: Any, kept: Any) -> None:
    cleaned = clean({name: value})
    assert cleaned == {name: kept}
    assert clean(cleaned) == cleaned
    hash(TaskOptions(**cleaned))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", True),
        ("backoff", "5"),
        ("retry_on", [5]),
        ("give_up_on", None),
        ("timeout", 0),
        ("timeout", -1),
        ("expires_in", 0),
        ("expires_in", math.nan),
        ("retention", -1),
        ("retention", None),
        ("aliases", "old.tasks.send"),
        ("aliases", ["send"]),
        ("aliases", ["a b.c"]),
        ("aliases", ["a." + "b" * 300]),
        ("tags", "mail"),
        ("tags", [""]),
        ("tags", ["  "]),
        ("tags", ["a\nb"]),
        ("tags", ["x" * 65]),
        ("tags", [5]),
        ("on_commit", None),
        ("on_commit", ""),
        ("on_commit", 1),
    ],
)
def test_a_bad_option_is_refused_with_its_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=f"^{name}="):
        clean({name: value})


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidOption) as caught:
        clean({"max_attemps": 3})
    assert str(caught.value) == ("unknown task option 'max_attemps': did you mean 'max_attempts'?")


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidOption) as caught:
        clean({"timeout": "x" * 10_000})
    assert len(str(caught.value)) < 300


# --- options that travel --------------------------------------------------------------------------


def test_overrides_travel_as_json_and_come_back() -> None:
    options = clean(
        {
            "max_attempts": None,
            "backoff": [1, 2.5],
            "retry_on": [Shortage, "a.B"],
            "give_up_on": (),
            "timeout": timedelta(minutes=1),
            "expires_in": None,
            "retention": 0.5,
            "tags": ["mail"],
        }
    )
    raw = portable(options)
    assert json.loads(json.dumps(raw)) == raw
    assert raw["timeout"] == 60
    assert restore(raw) == {**options, "retry_on": (SHORTAGE, "a.B")}


def test_aliases_and_on_commit_stay_at_home() -> None:
    assert portable(clean({"aliases": ["a.b"], "on_commit": False, "timeout": 5})) == {"timeout": 5}


def test_a_function_cannot_be_an_override() -> None:
    with pytest.raises(InvalidOption, match="declare it on the task"):
        portable(clean({"backoff": lambda attempt, error: 1}))


def test_what_another_release_wrote_is_left_out() -> None:
    raw = {
        "timeout": -1,
        "tags": "mail",
        "retry_on": 5,
        "unique": True,
        "on_commit": False,
        "backoff": {"kind": "new"},
        "retention": 5,
    }
    assert restore(raw) == {"retention": 5.0}


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(TaskOptions.NAMES), anything))
def test_restore_never_fails(raw: dict[str, Any]) -> None:
    clean(restore(raw))


# --- backends' settings ---------------------------------------------------------------------------


def test_nothing_said_gives_the_defaults() -> None:
    options = Options.parse("default", {})
    assert options == Options()
    assert options.problems == ()
    assert options.queues == {"default": 1}
    assert (options.worker.lease, options.keep.dead, options.max_payload) == (30, 10_000, 1_048_576)


def test_everything_said_is_taken() -> None:
    options = parse(
        {
            "URL": "rediss://user:secret@host:6380/3?ssl_cert_reqs=none",
            "PREFIX": "shop",
            "TASK_DEFAULTS": {"timeout": timedelta(minutes=1), "tags": ["a"]},
            "WORKER": {
                "concurrency": 4,
                "processes": 2,
                "lease": 5,
                "shutdown_timeout": 0,
                "start_method": "spawn",
            },
            "MAX_PAYLOAD": 1000,
            "CONNECT_TIMEOUT": 1,
            "SOCKET_TIMEOUT": timedelta(seconds=3),
            "DURABILITY": "replicated",
            "REPLICAS": 2,
            "DURABILITY_TIMEOUT": 0.5,
            "ALLOW_EVICTION": True,
            "KEEP": {"succeeded": 1, "dead": 2, "cancelled": 0},
            "DEAD_RETENTION": timedelta(days=1),
        },
        QUEUES={"critical": 6, "low": 1},
    )
    assert options == Options(
        url="rediss://user:secret@host:6380/3?ssl_cert_reqs=none",
        prefix="shop",
        queues={"critical": 6, "low": 1},
        task_defaults=TaskOptions(timeout=60.0, tags=("a",)),
        worker=conf.WorkerOptions(4, 2, 5.0, 0.0, "spawn"),
        keep=conf.KeepOptions(1, 2, 0),
        dead_retention=86_400.0,
        max_payload=1000,
        connect_timeout=1.0,
        socket_timeout=3.0,
        durability="replicated",
        replicas=2,
        durability_timeout=0.5,
        allow_eviction=True,
    )
    assert "secret" not in repr(options)


@pytest.mark.parametrize(
    ("queues", "weights"),
    [
        ({"a": 6, "b": 1}, {"a": 6, "b": 1}),
        (["a", "b.c-d_1"], {"a": 1, "b.c-d_1": 1}),
        (("a",), {"a": 1}),
        ([], {}),
        ({}, {}),
        (None, {"default": 1}),
    ],
)
def test_queues_are_weights_or_names_or_anything(queues: Any, weights: dict[str, int]) -> None:
    options = parse(QUEUES=queues)
    assert (options.queues, options.problems) == (weights, ())


@pytest.mark.parametrize(
    ("queues", "weights", "said"),
    [
        ("default", {"default": 1}, "TASKS['default']['QUEUES'] is a str"),
        (["ok", "no{tag}"], {"ok": 1}, "bad queue name 'no{tag}'"),
        (["x" * 65], {"default": 1}, "bad queue name"),
        ([""], {"default": 1}, "bad queue name ''"),
        ([["a"]], {"default": 1}, "bad queue name ['a']"),
        ([5], {"default": 1}, "bad queue name 5"),
        ({"a": 0}, {"a": 1}, "bad weight a=0"),
        ({"a": 1.5}, {"a": 1}, "bad weight a=1.5"),
        ({"a": True}, {"a": 1}, "bad weight a=True"),
    ],
)
def test_bad_queues_are_problems(queues: Any, weights: dict[str, int], said: str) -> None:
    options = parse(QUEUES=queues)
    (problem,) = options.problems
    assert said in problem.message
    assert problem.hint
    assert options.queues == weights


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://localhost",
        "redis://:secret@[::1]:6379/0",
        "rediss://host:6380",
        "unix:///run/redis.sock?db=1",
        "embedded://var/taskq?persist=no",
        "embedded:///var/lib/taskq",
        "redis+sentinel://h1,h2:26380/mymaster/0",
        "rediss+sentinel://user:secret@[::1]:26379/mymaster?sentinel_password=x&ssl_ca_certs=/ca",
        "redis+cluster://h1:7000,h2:7001",
        "rediss+cluster://:secret@h1?ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_cert_reqs=required",
    ],
)
def test_urls_that_a_server_can_have(url: str) -> None:
    options = parse({"URL": url})
    assert (options.url, options.problems) == (url, ())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://:secret@host", "must begin with one of redis://"),
        ("localhost:6379", "must begin with one of redis://"),
        ("", "must begin with one of redis://"),
        ("redis+sentinel://:secret@host", "name for the master must follow, as in /mymaster/0"),
        ("redis+sentinel://:secret@host/main/x", "name for the master must follow"),
        ("redis+cluster://:secret@host/1", "a Cluster has only the database 0"),
        ("redis+cluster://:secret@host/x", "must be a database number"),
        ("redis://:secret@h1,h2", "several hosts: say redis+cluster://"),
        ("redis://:secret@h1?ssl_ca_certs=x", "it needs TLS, so rediss:// in the scheme"),
        ("redis://:secret@h1?socket_timeout=1", "set OPTIONS['SOCKET_TIMEOUT']"),
        ("rediss://:secret@h1?ssl_ca_cert=x", "did you mean 'ssl_ca_certs'?"),
        ("rediss://:secret@h1?ssl_cert_reqs=secret", "must be required, optional or none"),
        ("redis://h1?db=secret", "db must be a whole number"),
        ("redis://:secret@host:port/0", "host or port cannot be read"),
        ("redis://:secret@[::1/0", "host or port cannot be read"),
        ("redis://:secret@host/main", "must be a database number"),
        ("embedded://", "a path must follow embedded://"),
        ("unix://?db=1", "a path must follow unix://"),
        (None, "URL is a NoneType"),
        (b"redis://:secret@host", "URL is a bytes"),
    ],
)
def test_a_bad_url_is_a_problem_that_shows_no_password(url: Any, said: str) -> None:
    options = parse({"URL": url})
    (problem,) = options.problems
    assert said in problem.message
    assert "secret" not in str(problem)
    assert options.url == Options().url


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        ({"URI": "x"}, "TASKS['default']['OPTIONS']: unknown key 'URI'", "Did you mean 'URL'?"),
        ({"url": "x"}, "unknown key 'url'", "Did you mean 'URL'?"),
        ({5: "x"}, "unknown key 5", "Valid names are ALLOW_EVICTION"),
        (
            {"WORKER": {"concurency": 4}},
            "TASKS['default']['OPTIONS']['WORKER']: unknown key 'concurency'",
            "Did you mean 'concurrency'?",
        ),
        ({"KEEP": {"ded": 4}}, "['KEEP']: unknown key 'ded'", "Did you mean 'dead'?"),
        (
            {"TASK_DEFAULTS": {"timout": 4}},
            "['TASK_DEFAULTS']: unknown key 'timout'",
            "Did you mean 'timeout'?",
        ),
        ({"TASK_DEFAULTS": {"aliases": ["a.b"]}}, "unknown key 'aliases'", "Valid names are"),
    ],
)
def test_an_unknown_key_is_a_problem_with_the_nearest_name(
    options: Mapping[Any, Any], said: str, hint: str
) -> None:
    problem = only_problem(options)
    assert said in problem.message
    assert problem.hint.startswith(hint)


def test_an_unknown_key_beside_options_is_a_problem() -> None:
    problem = only_problem(QUEUE=["a"])
    assert problem.message == "TASKS['default']: unknown key 'QUEUE'"
    assert problem.hint == "Did you mean 'QUEUES'?"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"PREFIX": "a{b}"}, "PREFIX='a{b}': must be"),
        ({"PREFIX": ""}, "PREFIX=''"),
        ({"PREFIX": "a\n"}, "PREFIX='a\\n'"),
        ({"MAX_PAYLOAD": 0}, "MAX_PAYLOAD=0: must be a whole number from 1 to 536,870,912"),
        ({"MAX_PAYLOAD": "1M"}, "MAX_PAYLOAD='1M'"),
        ({"CONNECT_TIMEOUT": 0}, "CONNECT_TIMEOUT=0"),
        ({"SOCKET_TIMEOUT": None}, "SOCKET_TIMEOUT=None"),
        ({"DEAD_RETENTION": -1}, "DEAD_RETENTION=-1"),
        ({"KEEP": {"dead": -1}}, "dead=-1"),
        ({"WORKER": {"lease": 4}}, "lease=4: must be from 5 to 3600 seconds"),
        ({"WORKER": {"lease": 4000}}, "lease=4000"),
        ({"WORKER": {"processes": 0}}, "processes=0"),
        ({"WORKER": {"concurrency": True}}, "concurrency=True"),
        ({"WORKER": {"shutdown_timeout": "x"}}, "shutdown_timeout='x'"),
        ({"WORKER": {"start_method": "forkserver"}}, "start_method='forkserver'"),
        ({"TASK_DEFAULTS": {"timeout": -5}}, "timeout=-5"),
        ({"WORKER": [4]}, "['WORKER'] is a list"),
        ("redis://", "['OPTIONS'] is a str"),
    ],
)
def test_a_bad_value_is_a_problem_and_its_default_is_used(options: Any, said: str) -> None:
    parsed = parse(options)
    (problem,) = parsed.problems
    assert said in problem.message
    assert problem.hint
    assert dataclasses.replace(parsed, problems=()) == Options()


def test_one_bad_value_does_not_take_the_others_with_it() -> None:
    options = parse(
        {"WORKER": {"lease": 1, "processes": 3}, "TASK_DEFAULTS": {"x": 1, "timeout": 5}}
    )
    assert len(options.problems) == 2
    assert options.worker == conf.WorkerOptions(processes=3)
    assert options.task_defaults.timeout == 5.0


keys = st.sampled_from(
    ["URL", "PREFIX", "TASK_DEFAULTS", "WORKER", "KEEP", "MAX_PAYLOAD", "DEAD_RETENTION", "lease"]
)


@settings(deadline=None)
@given(
    st.one_of(
        anything,
        st.fixed_dictionaries({"OPTIONS": st.dictionaries(keys, anything), "QUEUES": anything}),
    )
)
def test_no_settings_make_parsing_fail(params: Any) -> None:
    options = Options.parse("default", params)
    assert all(problem.message and problem.hint for problem in options.problems)


# --- the project's release ------------------------------------------------------------------------


def test_a_release_is_what_options_say_else_what_the_environment_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert parse().release == ""
    monkeypatch.setenv("TASKQ_RELEASE", " 4f2a91c\n")
    assert parse().release == "4f2a91c"
    assert parse({"RELEASE": "2.4.1"}).release == "2.4.1"
    assert parse({"RELEASE": None}).release == ""


@pytest.mark.parametrize("bad", [7, "two\nlines", "x" * 101, "\x1b[31m"])
def test_a_release_is_one_short_line(bad: Any) -> None:
    assert "RELEASE=" in only_problem({"RELEASE": bad}).message
    assert parse({"RELEASE": bad}).release == ""


@pytest.mark.parametrize(
    ("said", "release"),
    [("two\nlines", "two"), ("x" * 101, "x" * 100), ("\x1b[31m4f2", "[31m4f2"), ("\n \r", "")],
)
def test_a_release_of_the_environment_is_made_to_fit(
    monkeypatch: pytest.MonkeyPatch, said: str, release: str
) -> None:
    """What is wrong in TASKS stops every command, migrate too; a variable must not."""
    monkeypatch.setenv("TASKQ_RELEASE", said)

    assert (parse().release, parse().problems) == (release, ())


# --- limits of queues -----------------------------------------------------------------------------


def limits(raw: Any, queues: Any = ("mails", "default")) -> Options:
    return parse({"LIMITS": raw}, QUEUES=queues)


def test_a_queue_may_have_limits() -> None:
    found = limits({"mails": {"rate_limit": "100/m", "concurrency_limit": 3}})
    assert found.problems == ()
    assert found.limits == {"mails": Limit(3, Rate(100, 60))}
    assert parse().limits == {}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"mial": {"rate_limit": "1/s"}}, "unknown key 'mial' Did you mean 'mails'?"),
        ({5: {"rate_limit": "1/s"}}, "unknown key 5"),
        ({"mails": {"ratelimit": "1/s"}}, "unknown key 'ratelimit' Did you mean 'rate_limit'?"),
        ({"mails": {"rate_limit": "fast"}}, "['LIMITS']['mails']: rate_limit='fast': must be"),
        ({"mails": {"concurrency_limit": 0}}, "concurrency_limit=0: must be a whole number"),
        ({"mails": {}}, "['mails'] limits nothing Give it rate_limit or concurrency_limit."),
        ({"mails": 5}, "['LIMITS']['mails'] is a int It must be a dict."),
        ([], "['LIMITS'] is a list It must be a dict."),
    ],
)
def test_limits_that_cannot_be_are_one_problem_each(raw: Any, said: str) -> None:
    (problem,) = limits(raw).problems
    assert said in f"{problem.message} {problem.hint}"


def test_limits_are_held_against_the_queues_there_are() -> None:
    assert limits({"default": {"rate_limit": "1/s"}}, None).problems == ()
    assert limits({"other": {"rate_limit": "1/s"}}, []).problems == ()  # any name will do
    (problem,) = limits({"other": {"rate_limit": "1/s"}}, None).problems
    assert "other" in problem.message


def test_locks_limits_and_turns_can_have_defaults() -> None:
    raw = {"unique": 60, "rate_limit": "1/s", "limit_key": "x", "fair_by": "a", "fair_weights": {}}
    found = parse({"TASK_DEFAULTS": {**raw, "concurrency_limit": 2}})
    assert found.problems == ()
    assert found.task_defaults.unique == Unique(ttl=60.0)
    assert found.task_defaults.rate_limit == Rate(1, 1)
    assert only_problem({"TASK_DEFAULTS": {"unique": "x"}}).message.endswith("a Unique(...)")
