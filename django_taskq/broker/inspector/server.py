"""The server: how full it is, whether it throws keys away, how far its replicas are behind."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ...exceptions import BrokerUnavailable
from ..calls import Command

CALL = Command("INFO", "memory", "stats", "replication")
_FACT = re.compile(r"^(\w+):(.*?)\r?$", re.MULTILINE)
_REPLICA = re.compile(r"slave\d+")


class Replica(NamedTuple):
    """``lag``: seconds since it last said how far it is; 0 where that is not known."""

    address: str
    is_online: bool
    lag: int


class ServerState(NamedTuple):
    """What one server says of itself; of what it does not tell, what stands here.

    ``used``, ``most``: bytes, 0 for no limit; ``policy``: its maxmemory-policy; ``evicted``: keys
    that it threw away since it was started.
    """

    used: int = 0
    most: int = 0
    policy: str = "noeviction"
    evicted: int = 0
    replicas: tuple[Replica, ...] = ()

    @property
    def share(self) -> float:
        """How much of its memory is used, in percent; 0 where that has no limit."""
        return 100 * self.used / self.most if self.most else 0.0

    @property
    def evicts(self) -> bool:
        """Whether it throws keys away when it is full."""
        return self.most > 0 and self.policy != "noeviction"


def server_state(reply: Any) -> ServerState:
    """The reply to CALL, or the error in its place: a user may have no right to ask."""
    if isinstance(reply, BrokerUnavailable):
        raise reply
    if isinstance(reply, Exception):
        return ServerState()
    facts = dict(_FACT.findall(reply.decode("utf-8", "replace")))
    return ServerState(
        used=int(facts.get("used_memory", 0)),
        most=int(facts.get("maxmemory", 0)),
        policy=facts.get("maxmemory_policy", "noeviction"),
        evicted=int(facts.get("evicted_keys", 0)),
        replicas=tuple(_replica(said) for name, said in facts.items() if _REPLICA.fullmatch(name)),
    )


def _replica(said: str) -> Replica:
    """``ip=10.0.0.2,port=6379,state=online,offset=1,lag=0``"""
    facts = dict(part.partition("=")[::2] for part in said.split(","))
    lag = facts.get("lag", "0")
    return Replica(
        f"{facts.get('ip', '')}:{facts.get('port', '')}",
        facts.get("state") == "online",
        int(lag) if lag.isdigit() else 0,
    )
