"""What a user of Redis has to be allowed to do, and whether it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

import redis

from ..exceptions import BrokerError
from .broker import Broker
from .keys import GLOBAL_KEYS, QUEUE_KEYS, global_key, queue_key
from .scripts import load, names

# What is sent beside the scripts: command -> arguments that it could have.
PLAIN = {
    "BLPOP": "{key} 1",
    "HGETALL": "{key}",
    "PING": "",
    "PUBLISH": "{channel} x",
    "SUBSCRIBE": "{channel}",
    "SSUBSCRIBE": "{channel}",
}
SCRIPTING = ("EVAL", "EVALSHA")
DURABLE = {"replicated": "WAIT", "local": "WAITAOF"}
CLUSTER = {
    "ASKING": "",
    "CLIENT|ID": "",
    "CLIENT|UNBLOCK": "1",
    "CLUSTER|SLOTS": "",
}
OPTIONAL = ("CONFIG|GET", "MEMORY|USAGE")  # the startup check and the doctor see more with it
IN_SCRIPT = re.compile(r"(?:redis\.p?call|send)\('([A-Z]+)'")
WRITES = {"HASH": "HSET {key} f v", "ZSET": "ZADD {key} 1 m", "LIST": "RPUSH {key} v"}
WRITES |= {"SET": "SREM {key} m", "STREAM": "XADD {key} * f v"}


@cache
def script_commands() -> frozenset[str]:
    """Every command that our scripts call."""
    called = {command for name in names() for command in IN_SCRIPT.findall(load(name).source)}
    return frozenset(called - {command.partition("|")[0] for command in OPTIONAL})


def needed_commands(broker: Broker) -> list[str]:
    """Every command that must be allowed, as ACL rules name it, in order of the alphabet."""
    needed = {*script_commands(), *PLAIN, *SCRIPTING}
    if broker.durability is not None:
        needed.add(DURABLE[broker.durability.level])
    if broker.server.is_cluster:
        needed |= {*CLUSTER}
    return sorted(needed)


def acl_line(broker: Broker, user: str = "taskq") -> str:
    """The rule that makes a user with these rights and no other; its password is left open."""
    commands = [*needed_commands(broker), *OPTIONAL]
    rules = " ".join(f"+{command.lower()}" for command in commands)
    names = f"resetkeys ~{broker.prefix}:* resetchannels &{broker.prefix}:*"
    return f"ACL SETUSER {user} on >PASSWORD {names} -@all {rules}"


def examples(broker: Broker, queue: str) -> Iterable[str]:
    """Commands that are tried in thought: every command once, and a write to every key."""
    meta = broker.key(queue, "meta")
    arguments = {**PLAIN, **CLUSTER}
    for command in needed_commands(broker):
        words = arguments.get(command, "{key}")
        if command in SCRIPTING:
            words = "x 1 {key}"
        if command in DURABLE.values():
            words = "0 0 0" if command == "WAITAOF" else "0 0"
        name = command.replace("|", " ")
        yield f"{name} {words.format(key=meta, channel=broker.control)}".strip()
    for name, kind in QUEUE_KEYS.items():
        yield from _touches(queue_key(broker.prefix, queue, name), kind, "SPUBLISH")
    for name, kind in GLOBAL_KEYS.items():
        yield from _touches(global_key(broker.prefix, name), kind, "PUBLISH")


def _touches(key: str, kind: str, publish: str) -> Iterable[str]:
    yield f"{publish} {key} x" if kind == "CHANNEL" else WRITES[kind].format(key=key)


def missing(broker: Broker, queue: str) -> list[str]:
    """What the server does not let its user do, as commands. Raises BrokerUnavailable."""
    tried = list(examples(broker, queue))
    try:
        places = broker.rights(queue, tried)
    except BrokerError as error:
        if isinstance(error.__cause__, redis.exceptions.NoPermissionError):
            return [f"EVAL ({error.__cause__})"]
        raise
    return [tried[int(at)] for at in places]
