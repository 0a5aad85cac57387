"""Real servers for tests: one node, a master watched by Sentinels, a Cluster.

All listen on free ports of the loopback interface and keep their data in a directory that is
given; ``stop_all()`` ends what was started, and the kernel does if the tests themselves die.

    node = Node(home, appendonly="yes").start()
    nodes = ReplicaSet(home).start()        # nodes.url, nodes.kill_master(), nodes.failover()
    cluster = Cluster(home).start()         # cluster.url, .kill_master(slot), .move_slot(slot)

Times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import redis
from redis.crc import key_slot

from tests.topology.nodes import LOOPBACK, Node, binary_of, free_port, until

__all__ = ["LOOPBACK", "Cluster", "Group", "Node", "ReplicaSet", "binary_of", "free_port", "until"]

SERVICE = "mymaster"
SLOTS = 16384
PATIENCE = 60.0  # seconds until nodes agree with each other


class Group:
    """Nodes that belong together."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def node(self, port: int) -> Node:
        """The node that listens there."""
        return next(node for node in self.nodes if node.port == port)

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes if node.is_running]

    def restart_dead(self) -> None:
        """Starts again what was killed."""
        for node in self.nodes:
            if not node.is_running:
                node.start()

    def stop_all(self) -> None:
        """Ends every process that was started."""
        for node in self.nodes:
            with suppress(ProcessLookupError):
                node.kill()


class ReplicaSet(Group):
    """A master, its replicas, and Sentinels that watch them."""

    def __init__(
        self,
        home: Path,
        binary: str = "",
        *,
        replicas: int = 2,
        sentinels: int = 3,
        down_after: float = 1.0,
        **options: str | int,
    ) -> None:
        super().__init__()
        binary = binary or binary_of("valkey")
        first = Node(home / "n0", binary, **options)
        follow = {"replicaof": f"{LOOPBACK} {first.port}"}
        self.data = [first]
        self.data += [
            Node(home / f"n{at}", binary, **follow, **options) for at in range(1, replicas + 1)
        ]
        watch = "\n".join(
            [
                f"sentinel monitor {SERVICE} {LOOPBACK} {first.port} {sentinels // 2 + 1}",
                f"sentinel down-after-milliseconds {SERVICE} {round(down_after * 1000)}",
                f"sentinel failover-timeout {SERVICE} 5000",
            ]
        )
        self.sentinels = [Node(home / f"s{at}", binary, sentinel=watch) for at in range(sentinels)]
        self.nodes = [*self.data, *self.sentinels]
        self._failovers = 0

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{node.port}" for node in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def start(self) -> ReplicaSet:
        """Returns when the replicas are in step and the Sentinels know each other."""
        for node in self.data:
            node.start(wait=False)
        for node in self.data:
            node.wait_up()
        self.wait_synced(self.data[0])
        for sentinel in self.sentinels:  # not before: they look for replicas every 10 s
            sentinel.start(wait=False)
        for sentinel in self.sentinels:
            sentinel.wait_up()
            until(lambda s=sentinel: self._knows_all(s), message=f"{sentinel} knows the others")
        return self

    def _knows_all(self, sentinel: Node) -> bool:
        flat = sentinel.command("SENTINEL", "MASTER", SERVICE)
        master = dict(zip(flat[::2], flat[1::2], strict=True))
        known = (int(master["num-other-sentinels"]), int(master["num-slaves"]))
        return known == (len(self.sentinels) - 1, len(self.data) - 1)

    @property
    def master(self) -> Node:
        """The node that most Sentinels call the master now."""
        named = [
            int(sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
            for sentinel in self.sentinels
            if sentinel.is_running
        ]
        return self.node(max(set(named), key=named.count))

    @property
    def replicas(self) -> list[Node]:
        master = self.master
        return [node for node in self.data if node is not master and node.is_running]

    def wait_synced(self, master: Node | None = None) -> None:
        """Returns when every running replica has said that it has what the master has now.

        One is "online" before it has read what it was sent.
        """
        wanted = (master or self.master).info("replication")["master_repl_offset"]

        def synced() -> bool:
            info = (master or self.master).info("replication")
            level = [
                each
                for name, each in info.items()
                if name.startswith("slave")
                and isinstance(each, dict)
                and each["state"] == "online"
                and each["offset"] >= wanted
            ]
            return len(level) >= len([n for n in self.data if n.is_running]) - 1

        until(synced, message="the replicas follow the master")

    def kill_master(self) -> Node:
        """kill -9 of the master; the node, so that it can be started again."""
        master = self.master
        master.kill()
        return master

    def wait_new_master(self, old: Node, timeout: float = PATIENCE) -> Node:
        """The master after ``old``, once it takes writes."""

        def replaced() -> Node | None:
            new = self.master
            return new if new is not old and new.role == "master" else None

        return until(replaced, timeout, f"a master other than {old}")  # type: ignore[no-any-return]

    def failover(self) -> Node:
        """An orderly failover by the Sentinels, nobody dies; the new master."""
        old = self.master

        def accepted() -> bool:  # NOGOODSLAVE, INPROG: not yet
            return bool(self.sentinels[0].command("SENTINEL", "FAILOVER", SERVICE))

        until(accepted, message="a Sentinel starts the failover")
        return self.wait_new_master(old)


class Cluster(Group):
    """Masters that share the slots, each with as many replicas.

    ``node_timeout``: after that a silent master is taken for dead.
    """

    def __init__(
        self,
        home: Path,
        binary: str = "",
        *,
        masters: int = 3,
        replicas: int = 3,
        node_timeout: float = 2.0,
        **options: str | int,
    ) -> None:
        super().__init__()
        binary = binary or binary_of("valkey")
        self.nodes = [
            Node(
                home / f"c{at}",
                binary,
                cluster_enabled="yes",
                cluster_port=free_port(),
                cluster_node_timeout=round(node_timeout * 1000),
                **options,
            )
            for at in range(masters + replicas)
        ]
        self._masters = masters

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes[: self._masters])
        return f"redis+cluster://{hosts}"

    def start(self) -> Cluster:
        """Returns when all slots are served and every replica follows its master."""
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_up()
        step = -(-SLOTS // self._masters)
        masters, first = self.nodes[: self._masters], self.nodes[0]
        for at, node in enumerate(masters):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
            last = min((at + 1) * step, SLOTS) - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", at * step, last)
        for node in self.nodes[1:]:
            bus = node.client().config_get("cluster-port")["cluster-port"]
            first.command("CLUSTER", "MEET", LOOPBACK, node.port, bus)
        for node in self.nodes:
            until(lambda n=node: self._knows(n) == len(self.nodes), message=f"{node} knows all")
        for at, node in enumerate(self.nodes[self._masters :]):
            id = masters[at % self._masters].command("CLUSTER", "MYID")
            until(lambda n=node, i=id: n.command("CLUSTER", "REPLICATE", i), message="replicate")
        self.wait_ok()
        return self

    @staticmethod
    def _knows(node: Node) -> int:
        lines = node.command("CLUSTER", "NODES").splitlines()
        return len([line for line in lines if "handshake" not in line])

    def wait_ok(self, timeout: float = PATIENCE) -> None:
        """Returns when every running node sees all slots served, and replicas are in step."""

        def fine() -> bool:
            for node in self.running:
                if "cluster_state:ok" not in node.command("CLUSTER", "INFO"):
                    return False
                if node.role != "master" and node.info("replication")["master_link_status"] != "up":
                    return False
            views = {tuple(self._owners(node)) for node in self.running}
            return len(views) == 1

        until(fine, timeout, "the cluster is whole")

    @staticmethod
    def _owners(node: Node) -> list[tuple[int, int, int]]:
        """(first slot, last slot, master's port)."""
        rows = node.command("CLUSTER", "SLOTS")
        return sorted((row[0], row[1], row[2][1]) for row in rows)

    # -- who has what ------------------------------------------------------------------------------

    @staticmethod
    def slot_of(key: str) -> int:
        """The slot of a key, or of a queue's name in braces."""
        return int(key_slot(key.encode()))

    def master_of(self, slot: int) -> Node:
        """The node that serves a slot now."""
        for node in self.running:
            with suppress(redis.RedisError):
                for first, last, port in self._owners(node):
                    if first <= slot <= last:
                        return self.node(port)
        raise AssertionError(f"slot {slot} is served by nobody")

    def masters(self) -> list[Node]:
        """The nodes that serve slots now."""
        ports = {port for _, _, port in self._owners(self.running[0])}
        return [node for node in self.nodes if node.port in ports]

    def replicas_of(self, master: Node) -> list[Node]:
        """Its running replicas."""
        id = master.command("CLUSTER", "MYID")
        lines = master.command("CLUSTER", "NODES").splitlines()
        ports = {
            int(line.split()[1].split("@")[0].split(":")[1]) for line in lines if id in line[41:]
        }
        return [node for node in self.running if node.port in ports and node is not master]

    def other_master(self, than: Node) -> Node:
        """A node that serves slots and is not ``than``."""
        return next(node for node in self.masters() if node is not than)

    # -- faults ------------------------------------------------------------------------------------

    def kill_master(self, slot: int) -> Node:
        """kill -9 of the slot's master; the node, so that it can be started again."""
        master = self.master_of(slot)
        master.kill()
        return master

    def wait_new_master(self, slot: int, old: Node, timeout: float = PATIENCE) -> Node:
        """The slot's master after ``old``, once all running nodes agree."""

        def replaced() -> Node | None:
            owners = {
                port
                for node in self.running
                for first, last, port in self._owners(node)
                if first <= slot <= last
            }
            if len(owners) != 1 or old.port in owners:
                return None
            return self.node(owners.pop())

        return until(replaced, timeout, f"slot {slot} has a new master")  # type: ignore[no-any-return]

    def failover(self, slot: int) -> Node:
        """An orderly failover, nobody dies; the slot's new master."""
        old = self.master_of(slot)
        replica = self.replicas_of(old)[0]
        until(lambda: replica.command("CLUSTER", "FAILOVER"), message="the failover starts")
        return self.wait_new_master(slot, old)

    # -- moving a slot -----------------------------------------------------------------------------

    def begin_move(self, slot: int, to: Node | None = None) -> tuple[Node, Node]:
        """(source, target): from now on what the source lacks is asked for at the target (ASK)."""
        source = self.master_of(slot)
        target = to or self.other_master(source)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.command("CLUSTER", "MYID"))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.command("CLUSTER", "MYID"))
        return source, target

    @staticmethod
    def migrate_keys(slot: int, source: Node, target: Node, keys: Sequence[str] = ()) -> int:
        """Moves these keys, or all that there are in the slot; how many went."""
        moved = 0
        while True:
            batch: Iterable[str] = keys or source.command("CLUSTER", "GETKEYSINSLOT", slot, 100)
            names = list(batch)
            if not names:
                return moved
            words = ("MIGRATE", LOOPBACK, target.port, "", 0, 60_000, "KEYS", *names)
            source.command(*words, timeout=120.0)
            moved += len(names)
            if keys:
                return moved

    def end_move(self, slot: int, target: Node) -> None:
        """The target owns the slot, and everybody is told."""
        id = target.command("CLUSTER", "MYID")
        others = [node for node in self.masters() if node is not target]
        target.command("CLUSTER", "SETSLOT", slot, "NODE", id)
        # What it says of its slots must beat what anybody believes, also after many moves in a row:
        # of equal epochs some nodes believe the one and some the other, for good.
        target.command("CLUSTER", "BUMPEPOCH")
        for node in others:
            node.command("CLUSTER", "SETSLOT", slot, "NODE", id)

    def move_slot(self, slot: int, to: Node | None = None) -> Node:
        """Moves a slot and all its keys while the Cluster works; the node that has it now."""
        source, target = self.begin_move(slot, to)
        while self.migrate_keys(slot, source, target):
            pass
        self.end_move(slot, target)
        return target
