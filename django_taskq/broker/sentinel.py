"""Who is the master: asked of the Sentinels, one after the other."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import redis

from ..address import Host
from .faults import describe

if TYPE_CHECKING:
    from .connection import Server

PATIENCE = 1.0  # seconds a Sentinel has to answer; the next one is asked then


def find_master(server: Server) -> Host:
    """The master's address as the first Sentinel that knows it says. Raises ConnectionError.

    It may be a moment behind: then the old master refuses (READONLY) and this is asked again.
    """
    hosts = list(server.parts.hosts)
    random.shuffle(hosts)
    said = []
    for host in hosts:
        try:
            master = ask(server, host)
        except (redis.RedisError, OSError) as error:
            said.append(f"{host[0]}:{host[1]}: {describe(error)}")
            continue
        if master is not None:
            return master
        said.append(f"{host[0]}:{host[1]} knows no master {server.parts.service!r}")
    raise redis.ConnectionError("; ".join(said))


def ask(server: Server, host: Host) -> Host | None:
    """What one Sentinel says."""
    connection = server.links.make(
        host,
        min(server.socket_timeout, PATIENCE),
        socket_connect_timeout=min(server.connect_timeout, PATIENCE),
        # A Sentinel has users of its own, and no databases.
        **{"username": None, "password": None, **server.parts.sentinel},
        db=0,
    )
    try:
        connection.connect()
        words = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", server.parts.service)
        connection.send_command(*words)
        reply = connection.read_response()
    finally:
        connection.disconnect()
    return None if reply is None else (reply[0].decode(), int(reply[1]))
