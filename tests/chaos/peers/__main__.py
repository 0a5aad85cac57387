"""Strikes ours, Dramatiq and Celery alike, again and again, and counts.

    python -m tests.chaos.peers --jobs 1000 --strikes kill,redis

The others are installed into var/peers, and nowhere else.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from testproject.processes import ROOT
from tests.chaos.peers.run import Peer, Run
from tests.chaos.peers.strikes import STRIKES, Strike
from tests.chaos.report import Report, heading

VENV = ROOT / "var" / "peers"
PACKAGES = ("celery[redis]>=5.5", "dramatiq[redis]>=1.17")

THEIRS = str(VENV / "bin" / "python")
CELERY = ("-m", "celery", "-A", "tests.chaos.peers.celery_app", "worker")
CELERY += ("--concurrency", "4", "--loglevel", "ERROR")
DRAMATIQ = ("-m", "dramatiq", "tests.chaos.peers.dramatiq_app", "--processes", "1")
PEERS = [
    Peer(
        "django_taskq, lease 5 s",
        sys.executable,
        "tests.chaos.peers.ours",
        ("-m", "django", "runworker", "--processes", "1", "--concurrency", "4"),
    ),
    Peer("Dramatiq, 10 s", THEIRS, "tests.chaos.peers.dramatiq_app", (*DRAMATIQ, "--threads", "4")),
    Peer("Celery, late, 10 s", THEIRS, "tests.chaos.peers.celery_app", CELERY, {"PEER_LATE": "1"}),
    Peer("Celery", THEIRS, "tests.chaos.peers.celery_app", CELERY, only=("kill",)),
]


def strike_all(strikes: Sequence[Strike], jobs: int) -> Iterator[tuple[Peer, Strike, Report]]:
    """Each system under each strike, one after the other."""
    for peer in PEERS:
        for strike in strikes:
            if peer.only and strike.name not in peer.only:
                continue
            home = Path(tempfile.mkdtemp(prefix="tqpeer-"))
            run = Run(peer, home)
            try:
                yield peer, strike, run.play(strike, jobs)
            finally:
                run.close()
                shutil.rmtree(home, ignore_errors=True)


def table(strikes: Sequence[Strike], reports: dict[tuple[str, str], Report]) -> str:
    """Lost / done twice / seconds from the last strike to the last job, in Markdown."""
    lines = [
        f"| | {' | '.join(f'{strike.name} ×{strike.times}' for strike in strikes)} |",
        f"|---|{'---:|' * len(strikes)}",
    ]
    for peer in PEERS:
        cells = [cell(reports.get((peer.name, strike.name))) for strike in strikes]
        lines.append(f"| {peer.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(report: Report | None) -> str:
    if report is None:
        return "–"
    text = f"{report.lost} / {report.again} / {report.recoveries[0]:.1f}"
    return "; ".join([text, *report.notes])


def install() -> None:
    """The peers, once."""
    if not (VENV / "bin" / "celery").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([THEIRS, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    names = ("celery", "kombu", "dramatiq", "redis")
    found = "; ".join(f"print({name!r}, version({name!r}))" for name in names)
    subprocess.run([THEIRS, "-c", f"from importlib.metadata import version; {found}"], check=True)


def main() -> int:
    known = [strike.name for strike in STRIKES]
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.peers", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--strikes", default=",".join(known), help="separated by commas")
    parser.add_argument("--table", type=Path, help="a file that gets the table at its end")
    options = parser.parse_args()
    chosen = options.strikes.split(",")
    if unknown := set(chosen) - set(known):
        parser.error(f"no strike {', '.join(unknown)}; there are {', '.join(known)}")
    strikes = [strike for strike in STRIKES if strike.name in chosen]
    install()
    print(heading(), flush=True)
    reports = {}
    for peer, strike, report in strike_all(strikes, options.jobs):
        print(report.row(), flush=True)
        reports[peer.name, strike.name] = report
    found = table(strikes, reports)
    print(found)
    if options.table:
        with options.table.open("a") as file:
            file.write(f"\n## Beside others\n\n{found}\n")
    return 1 if any(reports[PEERS[0].name, strike.name].lost for strike in strikes) else 0


if __name__ == "__main__":
    sys.exit(main())
