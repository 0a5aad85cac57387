"""``taskq doctor``: what is wrong with the queues, and what can be done about it."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections import Counter
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...backends import RedisBackend
from ...codec import printable
from ...doctor import Doctor, Finding
from ...exceptions import BrokerUnavailable
from ...spelling import nearest
from . import _deeds, _output, _worker

HELP = (
    "Says what is wrong with the queues and what to do about it; --fix mends what can be mended. "
    "It may run beside workers at any time. Leaves with 1 while a problem is left."
)


def add_arguments(parser: ArgumentParser) -> None:
    """The doctor's options."""
    parser.add_argument(
        "--fix",
        action="store_true",
        help="mend it: put lost jobs in line again, take back what the dead held, delete leftovers",
    )
    parser.add_argument(
        "--queues", metavar="NAMES", help="queues to examine: mail,default (default: all there are)"
    )
    add_reading(parser)


def add_reading(parser: ArgumentParser) -> None:
    """The options of every command that reads."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    _worker.add_backend(parser)


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Prints the findings; 1 while a problem is left."""
    backend = _worker.backend_of(options["backend"])
    doctor = Doctor(
        backend.broker,
        sorted(backend.queues),
        fix=options["fix"],
        allow_eviction=backend.conf.allow_eviction,
        progress=_output.progress_on(sys.stderr),
    )
    findings = []
    for finding in doctor.examine(named(backend, options["queues"])):
        findings.append(finding)
        if not options["json"]:
            show(command, finding)
    if mended := [finding for finding in findings if finding.mended]:
        queues = sorted({finding.queue for finding in mended if finding.queue})
        _deeds.write_down(command, backend.broker, "fix", "queue", queues, told=counts(mended))
    left = [finding for finding in findings if finding.is_problem]
    if options["json"]:
        report = [asdict(finding) for finding in findings]
        command.stdout.write(_output.as_json({"healthy": not left, "findings": report}))
    else:
        command.stdout.write(summary(findings))
    return 1 if left else 0


def counts(findings: list[Finding]) -> dict[str, int]:
    """How many were mended of each kind."""
    found: Counter[str] = Counter()
    for finding in findings:
        found[finding.name] += finding.count
    return dict(found)


def named(backend: RedisBackend, text: str | None) -> list[str] | None:
    """The queues of ``--queues``. Raises CommandError for one that there is not."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    try:
        known = {*backend.broker.queues(), *backend.queues}
    except BrokerUnavailable:
        return names  # the doctor says so
    for name in names:
        if name not in known:
            raise CommandError(f"--queues: there is no queue {name!r}; {nearest(name, known)}")
    return names


def show(command: BaseCommand, finding: Finding) -> None:
    """A finding in a line, its examples and what to do in two more."""
    level = "mended" if finding.mended else finding.level
    style = {
        "ok": command.style.SUCCESS,
        "mended": command.style.SUCCESS,
        "warning": command.style.WARNING,
        "error": command.style.ERROR,
    }[level]
    where = f"{finding.queue}: " if finding.queue else ""
    command.stdout.write(f"{style(level.ljust(8))} {where}{printable(finding.message)}")
    if finding.examples:
        ids = printable(", ".join(finding.examples))
        more = ", ..." if finding.count > len(finding.examples) else ""
        command.stdout.write(f"         {ids}{more}")
    if finding.hint:
        command.stdout.write(f"         -> {finding.hint}")


def summary(findings: list[Finding]) -> str:
    """The last line."""
    left = sum(finding.is_problem for finding in findings)
    mended = sum(finding.mended for finding in findings)
    if not left and not mended:
        return "All is well." if findings else "There are no queues yet."
    said = [f"{mended} mended"] if mended else []
    return ", ".join([*said, f"{left} {'problem' if left == 1 else 'problems'} left"]) + "."
