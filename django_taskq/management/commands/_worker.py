"""What ``runworker`` and ``taskq worker`` share."""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, NoReturn

import django
from django.apps import apps
from django.core.management.base import CommandError

from ...backends import RedisBackend, get_broker
from ...broker import health
from ...broker.broker import Broker
from ...broker.connection import Server, get_server
from ...compat import DEFAULT_TASK_BACKEND_ALIAS, InvalidTaskBackend, task_backends
from ...conf import Options
from ...exceptions import BrokerUnavailable
from ...mirror.process import APP as MIRROR
from ...mirror.process import write_rows
from ...outbox.store import databases
from ...outbox.sweep import Outbox
from ...plan import Plan
from ...service import Service
from ...spelling import nearest
from ...supervisor import Supervisor, usable_method
from ...task import discover

logger = logging.getLogger("django_taskq.worker")

HELP = (
    "Runs background jobs until it is stopped. TERM and INT finish running jobs and give the rest "
    "back, a second INT at once; TSTP takes no more jobs, TTIN dumps all stacks, HUP starts anew "
    "with new code."
)


def add_arguments(parser: ArgumentParser) -> None:
    """The worker's options."""
    parser.add_argument(
        "--queues",
        metavar="NAMES",
        help="queues to work on, each with an optional weight: critical:6,default (default: all "
        "of the backend's QUEUES)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="a queue is served only while all of higher weight are empty",
    )
    parser.add_argument(
        "--concurrency", type=positive, metavar="N", help="jobs a process runs at once"
    )
    parser.add_argument("--processes", type=positive, metavar="N", help="processes that run jobs")
    parser.add_argument(
        "--burst", action="store_true", help="leave when the queues are empty (for cron and tests)"
    )
    parser.add_argument(
        "--reload", action="store_true", help="start anew when the code changes (for development)"
    )
    parser.add_argument(
        "--max-jobs", type=positive, metavar="N", help="replace a process after that many jobs"
    )
    parser.add_argument(
        "--max-memory", type=positive, metavar="MB", help="replace a process that holds more"
    )
    parser.add_argument(
        "--shutdown-timeout",
        type=seconds,
        metavar="S",
        help="seconds that running jobs have to finish when the worker is stopped",
    )
    add_backend(parser)


def add_backend(parser: ArgumentParser) -> None:
    """The option of every command."""
    parser.add_argument(
        "--backend",
        default=DEFAULT_TASK_BACKEND_ALIAS,
        metavar="ALIAS",
        help="the backend in TASKS whose jobs are meant (default: %(default)s)",
    )


def positive(text: str) -> int:
    """A whole number above zero."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def seconds(text: str) -> float:
    """A number of seconds, not negative and not endless."""
    number = float(text)
    if not 0 <= number <= 86_400:
        raise ValueError
    return number


def explain(parser: ArgumentParser, *others: ArgumentParser) -> ArgumentParser:
    """Lets the parser name the option that an unknown one was meant to be.

    ``others``: the parsers of its verbs, for whose options it speaks.
    """
    plain = parser.error
    actions = [action for each in (parser, *others) for action in each._actions]
    options = [name for action in actions for name in action.option_strings]

    def error(message: str) -> NoReturn:
        _, _, unknown = message.partition("unrecognized arguments: ")
        if unknown.startswith("--"):
            message += f"; {nearest(unknown.split()[0].split('=')[0], options)}"
        plain(message)

    parser.error = error  # type: ignore[method-assign]
    return parser


def run(options: dict[str, Any]) -> int:
    """Runs a worker until it is told to stop; its exit code."""
    backend = backend_of(options["backend"])
    conf = backend.conf
    plan = plan_of(options, backend.alias, conf)
    discover()
    broker = get_broker(server_of(conf), conf)
    supervisor = Supervisor(
        plan,
        broker,
        parts_of,
        sender=type(backend),
        processes=options["processes"] or conf.worker.processes,
        start_method=usable_method(conf.worker.start_method),
        reload=options["reload"],
    )
    # Over the backend's own line, which is patient: there is no lease yet that has to be kept.
    check_server(backend.broker, plan.names, backend.alias, allow_eviction=conf.allow_eviction)
    backend.broker.server.close()
    if plan.burst:
        finish_errands(plan)
    return supervisor.run()


def plan_of(options: dict[str, Any], alias: str, conf: Options) -> Plan:
    """What the children are to do. Raises CommandError for what cannot be."""
    queues = queues_of(options["queues"], conf)
    worker = conf.worker
    timeout = options["shutdown_timeout"]
    return Plan(
        alias=alias,
        queues=queues,
        names=list(queues),
        strict=options["strict"],
        concurrency=options["concurrency"] or worker.concurrency,
        lease=worker.lease,
        release=conf.release,
        burst=options["burst"],
        max_jobs=options["max_jobs"],
        max_memory=options["max_memory"],
        max_payload=conf.max_payload,
        shutdown_timeout=worker.shutdown_timeout if timeout is None else timeout,
        errands=(sweepers,) if conf.outbox else (),
        beside={"mirror": write_rows} if apps.is_installed(MIRROR) else {},
    )


def server_of(conf: Options) -> Server:
    """The supervisor's own: it makes no blocking call longer than a tenth of the lease."""
    patience = conf.worker.lease / 10
    return get_server(
        conf.url,
        min(conf.connect_timeout, patience),
        min(conf.socket_timeout, patience),
        patience,
    )


def finish_errands(plan: Plan) -> None:
    """Runs once what a worker that stays would run now and then."""
    for make in plan.errands:
        for service in make(plan.alias):
            try:
                service.finish()
            except Exception:
                logger.exception("%s failed", service.name)


def sweepers(alias: str) -> list[Service]:
    """What pushes the jobs that were left in the outbox: one for each database."""
    backend = backend_of(alias)
    return [Outbox(backend.broker, alias, using, backend.announce) for using in databases()]


def check_server(
    broker: Broker, queues: Sequence[str], alias: str, *, allow_eviction: bool
) -> None:
    """Raises CommandError for a server on which jobs would be lost, or could not run."""
    try:
        findings = health.check(broker, queues, allow_eviction=allow_eviction)
    except BrokerUnavailable as error:
        hint = f"Is TASKS[{alias!r}]['OPTIONS']['URL'] right?"
        raise CommandError(f"{error}\n{hint}") from error
    errors = [str(finding) for finding in findings if finding.level == health.ERROR]
    if errors:
        raise CommandError("\n".join(errors))
    for finding in findings:
        logger.warning("%s. %s", finding.message, finding.hint)


def parts_of(alias: str) -> tuple[Broker, type]:
    """What a child needs of its backend: the broker, and the class that signals are sent for.

    A spawned child starts from nothing and sets Django up here; a forked one finds it done.
    """
    if not apps.ready:
        django.setup()
        discover()
    backend = backend_of(alias)
    return backend.broker, type(backend)


def backend_of(alias: str) -> RedisBackend:
    """The backend of that alias. Raises CommandError when it is none of ours."""
    try:
        backend = task_backends[alias]
    except InvalidTaskBackend as error:
        known = ", ".join(sorted(task_backends.settings))
        raise CommandError(f"TASKS has no backend {alias!r}; it has {known}.") from error
    if not isinstance(backend, RedisBackend):
        raise CommandError(
            f"TASKS[{alias!r}] is a {type(backend).__name__}, which needs no worker; "
            "runworker works for django_taskq.backends.RedisBackend."
        )
    return backend


def queues_of(text: str | None, conf: Options) -> dict[str, int]:
    """The queues and weights of ``--queues``. Raises CommandError for one that cannot be."""
    if text is None:
        if not conf.queues:
            raise CommandError("QUEUES is [] (any name): say which with --queues.")
        return dict(conf.queues)
    queues = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition(":")
        if conf.queues and name not in conf.queues:
            raise CommandError(
                f"--queues: {name!r} is not in QUEUES; {nearest(name, list(conf.queues))}"
            )
        if weight and not (weight.isdecimal() and int(weight)):
            raise CommandError(
                f"--queues: the weight of {name!r} is {weight!r}, not a whole number above 0"
            )
        queues[name] = int(weight) if weight else conf.queues.get(name, 1)
    return queues
