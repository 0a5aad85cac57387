"""Whether a server is fit for jobs: asked when a worker starts, and by whoever wants to know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import redis

from .broker import Broker
from .faults import describe
from .links import Place
from .rights import acl_line, missing

ERROR = "error"  # jobs would be lost, or nothing would work
WARNING = "warning"

OLDEST = {"Redis": (7, 0), "Valkey": (7, 2)}
OLDEST_WAITAOF = {"Redis": (7, 2), "Valkey": (7, 2)}


class Finding(NamedTuple):
    """Something that is not as it should be, and what to do about it."""

    level: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}"


def check(broker: Broker, queues: Sequence[str], *, allow_eviction: bool = False) -> list[Finding]:
    """What is wrong with the server, or with any master of a Cluster, errors first.

    ``queues``: those whose keys the user must be able to use. Raises BrokerUnavailable.
    """
    server = broker.server
    findings: list[Finding] = []
    try:
        for place in server.all_places():
            findings += Node(broker, place, allow_eviction).findings()
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        raise server.unavailable(error, maybe_sent=False) from error
    if not any(finding.level == ERROR for finding in findings):
        findings += rights(broker, queues)
    return sorted(dict.fromkeys(findings), key=lambda finding: finding.level != ERROR)


def rights(broker: Broker, queues: Sequence[str]) -> list[Finding]:
    """What the server does not let its user do."""
    refused = sorted({command for queue in queues for command in missing(broker, queue)})
    if not refused:
        return []
    shown = "; ".join(refused[:5]) + (f"; and {len(refused) - 5} more" if refused[5:] else "")
    return [
        Finding(
            ERROR,
            f"{broker.server.address} does not let its user do: {shown}",
            f"Its rights must be at least: {acl_line(broker)}",
        )
    ]


class Node:
    """One server process, as far as it tells about itself."""

    def __init__(self, broker: Broker, place: Place, allow_eviction: bool) -> None:
        self._broker = broker
        self._server = broker.server
        self._allow_eviction = allow_eviction
        self._connection = self._server.links.make(place)
        host = place if isinstance(place, str) else f"{place[0]}:{place[1]}"
        self._name = (
            f"the server at {host}" if self._server.is_cluster else str(self._server.address)
        )
        self.info: dict[str, str] = {}

    def findings(self) -> list[Finding]:
        """All there are. Raises redis-py's errors where nobody answers."""
        try:
            self._connection.connect()
            text = self._ask("INFO")
            if text is None:
                return [
                    Finding(
                        WARNING,
                        f"{self._name} does not let its user ask INFO: its version, memory and "
                        "persistence are not known",
                        "Allow +info.",
                    )
                ]
            self.info = dict(re.findall(r"^(\w+):(.*?)\r?$", text.decode(), re.MULTILINE))
            return [
                *self._version(),
                *self._topology(),
                *self._eviction(),
                *self._persistence(),
                *self._durability(),
            ]
        finally:
            self._connection.disconnect()

    def _ask(self, *words: str) -> Any:
        """The reply; None where the user may not ask."""
        try:
            self._connection.send_command(*words)
            return self._connection.read_response()
        except redis.ResponseError as error:
            if "NOPERM" in describe(error) or "no permissions" in str(error).lower():
                return None
            raise

    @property
    def _kind(self) -> str:
        return "Valkey" if "valkey_version" in self.info else "Redis"

    @property
    def _release(self) -> tuple[int, ...]:
        text = self.info.get("valkey_version") or self.info.get("redis_version", "0")
        return tuple(int(part) for part in re.findall(r"\d+", text)[:2])

    def _version(self) -> Iterator[Finding]:
        if self._release < OLDEST[self._kind]:
            release, oldest = dotted(self._release), dotted(OLDEST[self._kind])
            yield Finding(
                ERROR,
                f"{self._name} runs {self._kind} {release}, which lacks what the scripts need",
                f"Use {self._kind} {oldest} or newer.",
            )

    def _topology(self) -> Iterator[Finding]:
        if self.info.get("cluster_enabled") == "1" and not self._server.is_cluster:
            yield Finding(
                ERROR,
                f"{self._name} is a node of a Cluster",
                "Set redis+cluster://host:port as the URL.",
            )
        elif self.info.get("role") == "slave":
            master = f"{self.info.get('master_host')}:{self.info.get('master_port')}"
            yield Finding(
                ERROR,
                f"{self._name} is a replica: it takes no jobs",
                f"Its master is {master}: set that as the URL, or redis+sentinel:// to have the "
                "master found.",
            )

    def _eviction(self) -> Iterator[Finding]:
        policy = self.info.get("maxmemory_policy", "noeviction")
        if self.info.get("maxmemory", "0") == "0" or policy == "noeviction":
            return
        level = WARNING if self._allow_eviction else ERROR
        yield Finding(
            level,
            f"{self._name} evicts keys when it is full (maxmemory-policy {policy}): whole queues "
            "would vanish",
            "Set maxmemory-policy noeviction, or use a server of its own for jobs. "
            "OPTIONS['ALLOW_EVICTION'] = True starts the worker all the same.",
        )

    def _persistence(self) -> Iterator[Finding]:
        if self._server.url.startswith("embedded:") or self.info.get("aof_enabled") == "1":
            return  # an embedded server persists unless its URL says no
        save = self._ask("CONFIG", "GET", "save")
        hint = "Set appendonly yes (appendfsync everysec loses at most a second)."
        if save is None:
            message = "keeps no log (appendonly no); whether it takes snapshots is not known"
        elif save[1]:
            message = "keeps snapshots only: a crash loses all jobs since the last one"
        else:
            message = "persists nothing: a restart loses all jobs"
        yield Finding(WARNING, f"{self._name} {message}", hint)

    def _durability(self) -> Iterator[Finding]:
        wait = self._broker.durability
        if wait is None:
            return
        if wait.level == "local":
            if self._release < OLDEST_WAITAOF[self._kind]:
                yield Finding(
                    ERROR,
                    f"{self._name} runs {self._kind} {dotted(self._release)}, which has no WAITAOF",
                    "DURABILITY = 'local' needs Redis 7.2 or Valkey 7.2.",
                )
            if self.info.get("aof_enabled") != "1":
                yield Finding(
                    ERROR,
                    f"{self._name} keeps no log that DURABILITY = 'local' could wait for",
                    "Set appendonly yes.",
                )
        elif int(self.info.get("connected_slaves", "0")) < wait.replicas:
            has = self.info.get("connected_slaves", "0")
            yield Finding(
                WARNING,
                f"{self._name} has {has} replicas, DURABILITY waits for {wait.replicas}: "
                "enqueue() raises NotReplicated",
                "Add replicas, or lower OPTIONS['REPLICAS'].",
            )


def dotted(release: Sequence[int]) -> str:
    """A version as it is written."""
    return ".".join(map(str, release))
