"""``taskq limits``: who waits for room under which limit, and other numbers for one."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...broker.broker import Broker
from ...broker.inspector import Gate, Inspector, LimitState
from ...broker.steering import Limited, Steering
from ...exceptions import BrokerError, InvalidOption
from ...limits import Limit, check_rate, made_limit
from . import _deeds, _doctor, _output, _reads, _worker

HELP = (
    "The limits, how many jobs wait for room under each, and how many are inside (100 per queue). "
    "With a queue, the name of a limit and numbers: these count for it, whatever the code says, "
    "until --release."
)
NONE = "none"  # in the place of a number: without it


def add_arguments(parser: ArgumentParser) -> None:
    """Which limit is meant, and what is to be done with it."""
    parser.add_argument("queue", nargs="?", help="the limits of this queue alone")
    parser.add_argument("name", nargs="?", help="of the limit, as the column `numbers of` has it")
    parser.add_argument("--concurrency", metavar="N", help="so many jobs at once, or none")
    parser.add_argument("--rate", metavar="N/TIME", help="so many in a time: 100/m, 10/s; or none")
    parser.add_argument("--burst", metavar="N", help="so many at once after a rest")
    parser.add_argument(
        "--release", action="store_true", help="go by the numbers of the code again"
    )
    _doctor.add_reading(parser)


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Prints or does it. Raises CommandError for what cannot be."""
    broker = _worker.backend_of(options["backend"]).broker
    inspector = Inspector(broker)
    given = {name: options[name] for name in ("concurrency", "rate", "burst") if options[name]}
    try:
        queues = chosen(broker.queues(), options["queue"])
        if not given and not options["release"]:
            found = [row for queue in queues for row in rows(inspector, queue, options["name"])]
            _reads.show(command, shown(found, options), as_json=options["json"])
            return 0
        if options["name"] is None:
            raise CommandError("say the queue and the name of the limit that is meant")
        limit = limit_of(inspector, options["queue"], options["name"])
        if options["release"] and given:
            raise CommandError("--release takes no numbers: it goes back to those of the code")
        numbers = None if options["release"] else changed(limit, given)
        done = ordered(command, broker, options["queue"], limit.name, numbers)
    except (BrokerError, InvalidOption) as error:
        raise CommandError(str(error)) from error
    report(command, limit, numbers, done, as_json=options["json"])
    return 0


def ordered(
    command: BaseCommand, broker: Broker, queue: str, name: str, numbers: Limit | None
) -> Limited:
    """Gives a limit these numbers, and writes that down. Raises BrokerError."""
    verb = "unlimit" if numbers is None else "limit"
    deed = (verb, "queue", [queue], {"limit": name, **(numbers or Limit()).told()})
    try:
        done = Steering(broker).limit(queue, name, numbers)
    except BrokerError as error:
        if error.maybe_sent:
            _deeds.write_down(command, broker, *deed, unsure=True)
        raise
    _deeds.write_down(command, broker, *deed)
    return done


def report(
    command: BaseCommand, limit: LimitState, numbers: Limit | None, done: Limited, *, as_json: bool
) -> None:
    """Says what became of it."""
    told = (numbers or limit.code or Limit()).told()
    if as_json:
        changed = {"changed": done.letter == "O", "let_in": done.let_in}
        command.stdout.write(_output.as_json({"limit": limit.name, **told, **changed}))
    else:
        words = ", ".join(f"{name} {value}" for name, value in told.items() if value)
        command.stdout.write(f"{limit.name}: {words}. Let in: {done.let_in:,}.")


def chosen(known: Sequence[str], wanted: str | None) -> Sequence[str]:
    """The queues that are meant. Raises CommandError for one that never took a job."""
    if wanted is None:
        return known
    if wanted not in known:
        raise CommandError(f"no queue of the name {wanted!r} has taken a job")
    return [wanted]


def limit_of(inspector: Inspector, queue: str, name: str) -> LimitState:
    """The limit of that name. Raises CommandError where no job ever came with it."""
    found = inspector.limits(queue, [name]).get(name)
    if found is None:
        raise CommandError(
            f"no job of queue {queue!r} ever came with the limit {name!r}; "
            f"`taskq limits {queue}` lists those there are"
        )
    return found


def changed(limit: LimitState, given: dict[str, str]) -> Limit:
    """The numbers that count, with those that are given. Raises InvalidOption."""
    concurrency, rate = limit.numbers or Limit()
    if "concurrency" in given:
        wanted = given["concurrency"]
        concurrency = None if wanted == NONE else number(wanted, "concurrency")
    if "rate" in given:
        rate = None if given["rate"] == NONE else check_rate(given["rate"], "rate")
    burst = number(given["burst"], "burst") if "burst" in given else None
    return made_limit(concurrency, rate, burst)


def number(text: str, name: str) -> int:
    """A number. Raises InvalidOption."""
    if not text.isascii() or not text.isdigit():
        raise InvalidOption(f"{name}={text!r}: must be a whole number")
    return int(text)


def rows(inspector: Inspector, queue: str, name: str | None) -> Iterator[dict[str, Any]]:
    """A row per gate in use, and one for each limit that nobody uses now.

    ``opens_ms``: until its rate lets the next in; ``numbers_of``: the limit that it goes by.
    """
    limits = inspector.limits(queue, [name] if name else [])
    states = {limit.name: limit for limit in limits.found}
    idle = [Gate(limit.name, limit.name, 0, 0, -1) for limit in limits.found if not limit.gates]
    for gate in (*limits.gates, *idle):
        if name is None or name in (gate.name, gate.limit):
            state = states.get(gate.limit)
            yield {
                "queue": queue,
                "limit": gate.name,
                "waiting": gate.waiting,
                "inside": gate.inside,
                "opens_ms": gate.opens,
                **((state and state.numbers) or Limit()).told(),
                "by_hand": "yes" if state and state.by_hand else "no",
                "numbers_of": gate.limit,
            }


def shown(found: list[dict[str, Any]], options: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows with a dash for what is not there, if a person reads them."""
    if options["json"]:
        return found
    return [{name: "-" if v is None else v for name, v in row.items()} for row in found]
