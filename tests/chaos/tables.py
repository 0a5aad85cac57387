"""The published tables, in Markdown: docs/reliability.md has them as a run writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from tests.chaos.fault import Fault
from tests.chaos.report import Report


def render(faults: dict[str, type[Fault]], reports: Iterable[Report]) -> str:
    """Both tables, in the order of ``faults``."""
    found = {report.fault: report for report in reports}
    tried = [(fault, found[name]) for name, fault in faults.items() if name in found]
    plain = [(fault, report) for fault, report in tried if not fault.level]
    losses = [(fault, report) for fault, report in tried if fault.level]
    parts = []
    if plain:
        parts.append("## Measured\n\n" + fault_table(plain))
    if losses:
        parts.append("## What a server loses\n\n" + loss_table(losses))
    return "\n\n".join(parts) + "\n"


def fault_table(tried: Sequence[tuple[type[Fault], Report]]) -> str:
    lines = [
        "| fault | jobs | faults | lost | twice | refused | recovery p50 / max, s | |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for fault, report in tried:
        lost = "–" if fault.forgets else str(report.lost)
        cells = [
            fault.title,
            f"{report.jobs:,}",
            f"{report.faults:,}",
            lost,
            f"{report.again:,}",
            f"{report.refused:,}",
            times(report),
            words(report),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def loss_table(tried: Sequence[tuple[type[Fault], Report]]) -> str:
    lines = [
        "| what happens | `DURABILITY` | times | accepted | gone | the first, s before | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for fault, report in tried:
        oldest = f"{report.oldest:.1f}" if report.gone else "–"
        cells = [fault.title, fault.level, f"{report.faults}", f"{report.jobs:,}"]
        cells += [f"{report.gone:,}", oldest, words(report)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def times(report: Report) -> str:
    found = report.recoveries
    return f"{median(found):.1f} / {max(found):.1f}" if found else "–"


def words(report: Report) -> str:
    return "; ".join([*report.notes, *(f"**{each}**" for each in report.failures())])
