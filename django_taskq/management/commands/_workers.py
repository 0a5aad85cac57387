"""``taskq workers``: the processes that run jobs, and orders to their workers."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...broker.roster import ORDERS, Process, Roster, Worker
from ...clock import monotonic
from ...exceptions import BrokerUnavailable
from . import _deeds, _doctor, _output, _reads, _worker

HELP = (
    "The processes that run jobs, and how long their leases last. --quiet, --resume, --restart, "
    "--stop and --stack take the id of a worker, or enough of its beginning."
)
PATIENCE = 5.0  # seconds that a process has to say where its code is
LOOK = 0.1
FACTS = (
    *("worker", "state", "host", "pid", "release", "slots", "memory_mb", "cpu_percent"),
    *("attempts", "failed", "reported_ms"),
)
DONE = {
    "quiet": "takes no more jobs.",
    "resume": "takes jobs again.",
    "restart": "starts anew.",
    "stop": "stops.",
}


def add_arguments(parser: ArgumentParser) -> None:
    """The options of every read, and the orders."""
    orders = parser.add_mutually_exclusive_group()
    orders.add_argument("--quiet", metavar="ID", help="take no more jobs, finish those that run")
    orders.add_argument("--resume", metavar="ID", help="take jobs again after --quiet")
    orders.add_argument(
        "--restart", metavar="ID", help="finish what runs and start anew with the code there is now"
    )
    orders.add_argument("--stop", metavar="ID", help="finish what runs and leave, as on SIGTERM")
    orders.add_argument("--stack", metavar="ID", help="print where the code of its processes is")
    _doctor.add_reading(parser)


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Prints or does it. Raises CommandError for what cannot be."""
    order = next((name for name in ORDERS if options[name]), None)
    broker = _worker.backend_of(options["backend"]).broker
    roster = Roster(broker)
    try:
        now, workers = roster.workers()
        if order is None:
            return listed(command, options, workers)
        worker = chosen(workers, options[order])
        if not roster.order(worker.id, order):
            raise CommandError(f"worker {worker.id} does not listen")
        _deeds.write_down(command, broker, order, "worker", [worker.id])
        said = stacks(roster, worker, now) if order == "stack" else {"done": done(worker, order)}
    except BrokerUnavailable as error:
        raise CommandError(str(error)) from error
    if options["json"]:
        command.stdout.write(_output.as_json(said))
    elif order == "stack":
        command.stdout.write("\n\n".join(f"# {name}\n{text}" for name, text in said.items()))
    else:
        command.stdout.write(f"Worker {worker.id} {said['done']}")
    return 0


def done(worker: Worker, order: str) -> str:
    """What comes of an order. One that vanished is heard of only once its record lapses."""
    if worker.is_stale:
        age = (worker.age or 0) // 1000
        return f"was told so, but has not reported for {age} s: it may be gone."
    return DONE[order]


def listed(command: BaseCommand, options: dict[str, Any], workers: Sequence[Worker]) -> int:
    """A row per process, with what its worker says of it, and one per worker without any."""
    known = {each.holder: (worker, each) for worker in workers for each in worker.record.processes}

    def read(*args: Any) -> list[dict[str, Any]]:
        rows = [row | facts(*known.get(row["process"], ())) for row in _reads.workers(*args)]
        seen = {row["worker"] for row in rows}
        return rows + [alone(worker) for worker in workers if worker.id not in seen]

    return _reads.run(command, options, read)


def alone(worker: Worker) -> dict[str, Any]:
    """A row of a worker none of whose processes has a lease: it is quiet, begins, or vanished."""
    queues = ",".join(worker.record.queues)
    return {"process": "", "lease_ms": None, "queues": queues} | facts(worker)


def facts(worker: Worker | None = None, each: Process | None = None) -> dict[str, Any]:
    """What a worker says of one of its processes, or of all; None where nobody says anything."""
    if worker is None:
        return dict.fromkeys(FACTS)
    record = worker.record
    said = (
        worker.id,
        "stale" if worker.is_stale else record.state,
        record.host,
        each.pid if each else record.pid,
        record.release,
        f"{each.used}/{record.slots}" if each else f"{worker.used}/{worker.slots}",
        (each or worker).memory >> 20,
        *((each or worker).cpu, (each or worker).attempts, (each or worker).failed),
        worker.age,
    )
    return dict(zip(FACTS, said, strict=True))


def chosen(workers: Sequence[Worker], beginning: str) -> Worker:
    """The worker whose id begins so. Raises CommandError for none, and for several."""
    found = [worker for worker in workers if worker.id.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    why = "several workers have ids that begin" if found else "no worker has an id that begins"
    raise CommandError(f"{why} with {beginning!r}; `taskq workers` lists them")


def stacks(roster: Roster, worker: Worker, since: int) -> dict[str, str]:
    """What its processes say, by their ids; of one that does not answer, that."""
    holders = [each.holder for each in worker.record.processes]
    until = monotonic() + PATIENCE
    while True:
        told = {holder: text for holder, (at, text) in roster.told(holders).items() if at >= since}
        if len(told) == len(holders) or monotonic() > until:
            break
        time.sleep(LOOK)
    silent = "It does not answer: it may hang in code that holds the GIL.\n"
    return {holder: told.get(holder, silent) for holder in holders}
