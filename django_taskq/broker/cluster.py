"""A Cluster: which node a queue lives at, and calls to several nodes at once.

A queue is one slot (all its keys share the tag ``{queue}``), so every call belongs to one node.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from ..address import Host
from ..exceptions import BrokerError, BrokerUnavailable
from . import calls as wire
from .calls import Call
from .connection import Server, value_of
from .faults import LOST_ERRORS, Fault, describe, fault_of
from .links import Place
from .trips import Delivery, Sent

FRESH = 0.1  # seconds for which nobody asks for the slots again
PATIENCE = 1.0  # seconds a node has to say who serves what; the next one is asked then


@lru_cache(maxsize=4096)
def slot_of(key: str) -> int:
    """The slot of a key."""
    return key_slot(key.encode())


class Slots:
    """Which master serves each slot, as far as this process knows. Safe to use from any thread."""

    def __init__(self) -> None:
        self._owners: list[Host | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self.masters: tuple[Host, ...] = ()

    def owner(self, slot: int) -> Host | None:
        return self._owners[slot]

    def moved(self, slot: int, host: Host) -> None:
        """One slot is somewhere else."""
        self._owners[slot] = host
        if host not in self.masters:
            self.masters = (*self.masters, host)

    def replace(self, reply: Sequence[Any], asked: Host) -> None:
        """Takes the reply to CLUSTER SLOTS of the node ``asked``."""
        owners: list[Host | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        masters = []
        for first, last, master, *_ in reply:
            name = master[0].decode() if master[0] else ""
            # A node that does not know its own name is where we found it.
            host = (asked[0] if name in ("", "?") else name, int(master[1]))
            owners[first : last + 1] = [host] * (last + 1 - first)
            masters.append(host)
        self._owners = owners
        self.masters = tuple(dict.fromkeys(masters))


class Part(NamedTuple):
    """What one node is sent of several calls: the calls' places in the whole."""

    connection: Any
    places: list[int]
    calls: list[Call]
    error: BaseException | None


class ClusterServer(Server):
    """A Cluster, as this process talks to it: a pool for each of its masters."""

    is_cluster = True

    def __init__(self, url: str, *timeouts: float) -> None:
        super().__init__(url, *timeouts)
        self.slots = Slots()
        self._pools: dict[Place, deque[Any]] = {}
        self._asking = threading.Lock()
        self._asked_at = 0.0

    # -- where it is -----------------------------------------------------------------------------

    def place(self, key: str = "") -> Place:
        place = self.known_place(key)
        if place is None:
            self._ask_for_slots()
            place = self.known_place(key)
        if place is None:
            raise redis.exceptions.ClusterDownError(f"no node serves the slot of {key}")
        return place

    def all_places(self) -> list[Place]:
        if not self.slots.masters:
            self._ask_for_slots()
        return list(self.slots.masters)

    def known_place(self, key: str = "") -> Place | None:
        if key:
            return self.slots.owner(slot_of(key))
        masters = self.slots.masters
        return random.choice(masters) if masters else None

    def together(self, keys: Sequence[str]) -> list[list[str]]:
        by_slot: dict[int, list[str]] = {}
        for key in keys:
            by_slot.setdefault(slot_of(key), []).append(key)
        return list(by_slot.values())

    def _ask_for_slots(self) -> None:
        """Learns who serves what from the first node that answers. Raises ConnectionError."""
        known = self._asked_at
        with self._asking:
            if self._asked_at > known or time.monotonic() < self._asked_at + FRESH:
                return  # somebody else has just asked
            masters = self.slots.masters
            hosts = list(dict.fromkeys([*random.sample(masters, len(masters)), *self.parts.hosts]))
            said = []
            for host in hosts:
                try:
                    self.slots.replace(self._slots_of(host), host)
                except (redis.RedisError, OSError) as error:
                    said.append(f"{host[0]}:{host[1]}: {describe(error)}")
                    continue
                self._asked_at = time.monotonic()
                return
        raise redis.ConnectionError("; ".join(said))

    def _slots_of(self, host: Host) -> Any:
        patience = min(self.connect_timeout, PATIENCE)
        connection = self.links.make(host, PATIENCE, socket_connect_timeout=patience)
        try:
            connection.connect()
            connection.send_command("CLUSTER", "SLOTS")
            return connection.read_response()
        finally:
            connection.disconnect()

    # -- connections -----------------------------------------------------------------------------

    def _borrow(self) -> Any:
        return self._take(self.place())

    def borrow_for(self, call: Call) -> Any:
        return self._take(self._place_of(call))

    def _place_of(self, call: Call) -> Place:
        return self.place(call.keys[0] if call.keys else "")

    def _take(self, place: Place) -> Any:
        pool = self._pools.get(place)
        try:
            return pool.pop() if pool else self.links.make(place)
        except IndexError:
            return self.links.make(place)

    def give_back(self, connection: Any) -> None:
        self._pools.setdefault((connection.host, connection.port), deque()).append(connection)

    def close(self) -> None:
        for pool in list(self._pools.values()):
            close_all(pool)

    def forked(self) -> None:
        super().forked()
        self._asking = threading.Lock()  # a thread of the parent may have held it

    def _forget(self, connection: Any) -> None:
        """A connection broke: so did most likely all others to that node."""
        connection.disconnect()
        close_all(self._pools.get((connection.host, connection.port), deque()))

    # -- calls -----------------------------------------------------------------------------------

    def call(self, call: Call) -> Any:
        return self.deliver(call, Delivery(self))

    def call_again(self, call: Call, unsure_since: float) -> Any:
        return self.deliver(call, Delivery(self, unsure_since))

    def deliver(self, call: Call, delivery: Delivery) -> Any:
        """The reply to a call that may have been tried already."""
        place: Place | None = None  # where to ask this once
        while True:
            connection = None
            asking = place is not None
            try:
                connection = self._take(place or self._place_of(call))
                (reply,) = delivery.run(connection, (call,), asking=asking)
            except LOST_ERRORS as error:
                if connection is not None:
                    self._forget(connection)
                place = delivery.rest_after(error, (call,))
            except redis.ResponseError as error:
                if connection is not None:
                    self.give_back(connection)
                place = delivery.rest_after(error, (call,))
            except BaseException:
                if connection is not None:
                    connection.disconnect()
                raise
            else:
                self.give_back(connection)
                return value_of(reply)

    def call_each(self, calls: Sequence[Call]) -> list[Any]:
        """As Server's, with one round trip to each node, all at the same time."""
        return Scattered(self, calls, again=True).replies()

    def begin(self, calls: Sequence[Call]) -> Sent:
        return Scattered(self, calls)

    # -- errors ----------------------------------------------------------------------------------

    def recover(self, error: BaseException) -> Place | None:
        if isinstance(error, redis.exceptions.MovedError):
            self.slots.moved(error.slot_id, self._named(error))
            return None
        if isinstance(error, redis.exceptions.AskError):
            return self._named(error)
        if fault_of(error) is not Fault.ELSEWHERE:  # TRYAGAIN: the same node, in a moment
            self.mend()
        return None

    def _named(self, error: redis.exceptions.AskError) -> Host:
        """The node that MOVED or ASK names; no name means the host that said it."""
        return (error.host or self.parts.hosts[0][0], error.port)

    def mend(self) -> None:
        """After a lost connection: asks who serves what. Raises BrokerUnavailable."""
        try:
            self._ask_for_slots()
        except redis.ConnectionError as error:
            raise self.unavailable(error, maybe_sent=False) from error


class Scattered(Sent):
    """Calls sent to the nodes that they belong to; the replies are read later.

    ``again``: what got no answer is sent once more, call by call.
    """

    def __init__(
        self, server: ClusterServer, calls: Sequence[Call], *, again: bool = False
    ) -> None:
        self._cluster = server
        self._calls = calls
        self._again = again
        self._begun = time.monotonic()
        self._nowhere: dict[int, BaseException] = {}  # calls that no node takes
        self._parts = [self._send(*part) for part in self._by_place(calls).items()]

    def _by_place(self, calls: Sequence[Call]) -> dict[Place, list[int]]:
        places: dict[Place, list[int]] = {}
        nobody: BaseException | None = None  # who could be asked answered
        for at, call in enumerate(calls):
            key = call.keys[0] if call.keys else ""
            try:
                if nobody is not None and self._cluster.known_place(key) is None:
                    raise nobody
                places.setdefault(self._cluster.place(key), []).append(at)
            except (redis.RedisError, OSError) as error:
                self._nowhere[at] = error
                nobody = error if isinstance(error, LOST_ERRORS) else nobody
        return places

    def _send(self, place: Place, places: list[int]) -> Part:
        calls = [self._calls[at] for at in places]
        connection = self._cluster._take(place)
        try:
            wire.send(connection, calls)
        except BaseException as error:
            self._cluster._forget(connection)
            if isinstance(error, LOST_ERRORS):
                return Part(connection, places, calls, error)
            raise
        return Part(connection, places, calls, None)

    def replies(self) -> list[Any]:
        """A reply or an error per call, in order, when every node has answered or is given up."""
        replies: list[Any] = [self._nowhere.get(at) for at in range(len(self._calls))]
        for part in self._parts:
            for at, reply in zip(part.places, self._read(part), strict=True):
                replies[at] = reply
        away: dict[Place | None, BrokerUnavailable] = {}  # nodes that were tried once more
        for at, reply in enumerate(replies):
            if isinstance(reply, BaseException):
                replies[at] = self._second_try(at, reply, away)
        return replies

    def _second_try(
        self, at: int, error: BaseException, away: dict[Place | None, BrokerUnavailable]
    ) -> Any:
        """The reply to a call that met an error, or what that means."""
        fault = fault_of(error)
        if fault is Fault.FINAL:
            return self._cluster.meaning(error)
        if fault is not Fault.ELSEWHERE and not self._again:
            return self._cluster.unavailable(error, maybe_sent=fault is Fault.LOST)
        if fault is Fault.ELSEWHERE:
            self._cluster.recover(error)
        call = self._calls[at]
        place = self._cluster.known_place(call.keys[0] if call.keys else "")
        if place in away:
            return away[place]
        try:
            unsure_since = self._begun if fault is Fault.LOST else 0.0
            return self._cluster.deliver(call, Delivery(self._cluster, unsure_since))
        except BrokerUnavailable as unavailable:
            away[place] = unavailable
            return unavailable
        except (BrokerError, redis.ResponseError) as final:
            return final

    def _read(self, part: Part) -> list[Any]:
        """A reply or an error per call of one node."""
        if part.error is not None:
            return [part.error] * len(part.calls)
        try:
            replies = wire.receive_each(part.connection, part.calls)
        except LOST_ERRORS as error:
            self._cluster._forget(part.connection)
            return [error] * len(part.calls)
        except BaseException:
            part.connection.disconnect()
            raise
        self._cluster.give_back(part.connection)
        return replies

    def abandon(self) -> None:
        for part in self._parts:
            part.connection.disconnect()


def close_all(pool: deque[Any]) -> None:
    """Closes the connections of a pool."""
    while True:
        try:
            pool.pop().disconnect()
        except IndexError:
            return
