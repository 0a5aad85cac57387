"""A script on its way to the server and back, on a connection that is given.

Goes through ``Connection.send_packed_command`` and ``read_response`` of redis-py, past its command
layer, which costs more than the round trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis
import redis

from .scripts import Script

Arg = str | bytes | int | float

NO_SCRIPT = object()


class Call:
    """One script with its keys and arguments, ready to be sent."""

    __slots__ = ("args", "keys", "script")

    def __init__(self, script: Script, keys: tuple[str, ...], args: Sequence[Arg]) -> None:
        self.script = script
        self.keys = keys
        self.args = args

    def by_sha(self) -> tuple[Any, ...]:
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)

    def by_source(self) -> tuple[Any, ...]:
        return ("EVAL", self.script.source, len(self.keys), *self.keys, *self.args)


def exchange(connection: Any, calls: Sequence[Call]) -> list[Any]:
    """Sends the calls at once and reads all replies; an error reply is raised after the last."""
    send(connection, calls)
    return receive(connection, calls)


def send(connection: Any, calls: Sequence[Call]) -> None:
    """Sends the calls; ``receive`` must follow on the same connection.

    hiredis packs text, bytes and numbers by itself; redis-py's packer looks at each argument
    first, which costs more than the packing.
    """
    packed = [hiredis.pack_command(call.by_sha()) for call in calls]
    connection.send_packed_command([b"".join(packed)])


def receive(connection: Any, calls: Sequence[Call]) -> list[Any]:
    """The replies to what ``send`` sent; loads a script that the server does not know."""
    replies: list[Any] = []
    failure: redis.ResponseError | None = None
    for _ in calls:
        try:
            replies.append(connection.read_response())
        except redis.exceptions.NoScriptError:
            replies.append(NO_SCRIPT)
        except redis.ResponseError as error:
            replies.append(None)
            failure = failure or error
    for at, reply in enumerate(replies):
        if reply is NO_SCRIPT:
            connection.send_command(*calls[at].by_source())
            replies[at] = connection.read_response()
    if failure is not None:
        raise failure
    return replies
