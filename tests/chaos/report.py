"""What a run came to, as a row of the table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median

COLUMNS = ("fault", "jobs", "faults", "lost", "again", "refused", "p50 s", "max s", "took s", "")
ROW = "{:<28} {:>8} {:>6} {:>5} {:>6} {:>7} {:>7} {:>7} {:>6}  {}"


@dataclass
class Report:
    """``lost``: accepted, and not at an end or without its effect. ``again``: done twice.

    ``refused``: outcomes that came too late, and changed nothing. ``late``: what took longer than
    it may. ``lapsed``: leases of the living that ended, and what was done twice for that.
    """

    fault: str
    jobs: int = 0
    faults: int = 0
    lost: int = 0
    again: int = 0
    refused: int = 0
    gone: int = 0  # accepted, and lost with the server's data, where its level allows that
    oldest: float = 0.0  # seconds before the fault that the first of those was accepted
    recoveries: list[float] = field(default_factory=list)
    took: float = 0.0
    notes: list[str] = field(default_factory=list)  # figures of this fault alone
    complaints: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    lapsed: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures()

    @property
    def inconclusive(self) -> bool:
        """Whether all that is wrong is what a machine with other work may cause once."""
        return not (self.passed or self.complaints)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        return cls(**json.loads(text))

    def failures(self) -> list[str]:
        return [*self.complaints, *self.lapsed, *self.late]

    def remarks(self) -> list[str]:
        if not self.gone:
            return self.notes
        return [*self.notes, f"{self.gone} accepted jobs are gone, up to {self.oldest:.1f} s old"]

    def row(self) -> str:
        """A line of the table."""
        times = self.recoveries
        return ROW.format(
            self.fault,
            self.jobs,
            self.faults,
            self.lost,
            self.again,
            self.refused,
            f"{median(times):.1f}" if times else "-",
            f"{max(times):.1f}" if times else "-",
            f"{self.took:.0f}",
            "; ".join([*self.remarks(), *(f"FAILED: {each}" for each in self.failures())]),
        ).rstrip()


def heading() -> str:
    return ROW.format(*COLUMNS).rstrip()


def summary(reports: Iterable[Report]) -> str:
    """The last line."""
    all_ = list(reports)
    failed = [report.fault for report in all_ if not report.passed]
    total = sum(report.jobs for report in all_)
    lost = sum(report.lost for report in all_)
    verdict = f"failed: {', '.join(failed)}" if failed else "all held"
    return f"{len(all_)} faults, {total:,} jobs, {lost} lost: {verdict}"
