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
from .waits import Wait

Arg = str | bytes | int | float

NO_SCRIPT = object()
ASKING: bytes = hiredis.pack_command(("ASKING",))


class Call:
    """One script with its keys and arguments, ready to be sent.

    ``wait``: what has to confirm it before it counts as done; ``unconfirmed``: it was carried out
    and that was missing.
    """

    __slots__ = ("args", "keys", "script", "unconfirmed", "wait")

    def __init__(
        self,
        script: Script,
        keys: tuple[str, ...],
        args: Sequence[Arg],
        wait: Wait | None = None,
    ) -> None:
        self.script = script
        self.keys = keys
        self.args = args
        self.wait = wait
        self.unconfirmed = False

    def by_sha(self) -> tuple[Any, ...]:
        """The command for a server that knows the script."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)

    def by_source(self) -> tuple[Any, ...]:
        """The command for any server."""
        return ("EVAL", self.script.source, len(self.keys), *self.keys, *self.args)

    def pack(self) -> bytes:
        """As it is sent.

        hiredis packs text, bytes and numbers by itself; redis-py's packer looks at each argument
        first, which costs more than the packing.
        """
        packed: bytes = hiredis.pack_command(self.by_sha())
        return packed if self.wait is None else packed + self.wait.packed

    def pack_source(self) -> bytes:
        """As it is sent to a server that may not know the script."""
        packed: bytes = hiredis.pack_command(self.by_source())
        return packed if self.wait is None else packed + self.wait.packed


class Command(Call):
    """A plain command; for what is no script. ``keys``: where it belongs; none: anywhere."""

    __slots__ = ()

    def __init__(self, *words: Arg) -> None:
        # PUBLISH reaches every node of a Cluster; SPUBLISH only the one of its slot.
        keyed = len(words) > 1 and str(words[0]).upper() not in KEYLESS
        self.args = words
        self.keys = (str(words[1]),) if keyed else ()
        self.wait = None
        self.unconfirmed = False

    def by_sha(self) -> tuple[Any, ...]:
        return tuple(self.args)

    def by_source(self) -> tuple[Any, ...]:
        return tuple(self.args)


KEYLESS = {
    *("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "ECHO", "FLUSHALL", "FLUSHDB"),
    *("INFO", "MEMORY", "PING", "PUBLISH", "ROLE", "SCAN", "SCRIPT", "TIME", "WAIT", "WAITAOF"),
}


def exchange(connection: Any, calls: Sequence[Call], *, asking: bool = False) -> list[Any]:
    """Sends the calls at once and reads all replies, error replies among them.

    ``asking``: the slot is being moved, and the node that it moves to is asked.
    """
    if asking:
        connection.send_packed_command([ASKING + call.pack_source() for call in calls])
    else:
        send(connection, calls)
    return receive_each(connection, calls, asking=asking)


def send(connection: Any, calls: Sequence[Call]) -> None:
    """Sends the calls; ``receive_each`` must follow on the same connection."""
    connection.send_packed_command([b"".join([call.pack() for call in calls])])


def receive_each(connection: Any, calls: Sequence[Call], *, asking: bool = False) -> list[Any]:
    """The replies to what ``send`` sent; loads a script that the server does not know.

    An error reply has its place among the others.
    """
    replies: list[Any] = []
    for call in calls:
        if asking:
            connection.read_response()
        replies.append(read(connection, call))
    for at, reply in enumerate(replies):
        if reply is NO_SCRIPT:
            connection.send_packed_command([calls[at].pack_source()])
            replies[at] = read(connection, calls[at])
    return replies


def read(connection: Any, call: Call) -> Any:
    """The reply to one call: a value, NO_SCRIPT or a ResponseError."""
    reply: Any
    try:
        reply = connection.read_response()
    except redis.exceptions.NoScriptError:
        reply = NO_SCRIPT
    except redis.ResponseError as error:
        reply = error
    if call.wait is not None:
        try:
            call.unconfirmed = not call.wait.is_met(connection.read_response())
        except redis.ResponseError as error:
            call.unconfirmed = call.wait.failed(error)
    return reply
