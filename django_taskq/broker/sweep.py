"""What the sweep looks for: everything that no script leaves behind, and how it is mended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..exceptions import MalformedJob
from ..job import Failure

CHUNK = 100  # members looked at per call
FIRST = "ready"  # where a walk begins; the others follow in the order of sweep.lua


class Check(NamedTuple):
    """A kind of finding. ``grave``: jobs would not run, or would run twice.

    ``passing``: it may be seen for a moment while all is well; ``place``: where to look again then.
    """

    name: str
    what: str
    mended: str
    grave: bool = False
    passing: bool = False
    place: str = ""


CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check(
            "hollow",
            "jobs without their arguments",
            "put among the dead; deleted if they had ended",
            grave=True,
        ),
        Check(
            "double",
            "jobs in two states at once",
            "taken out of all but one, as their record says",
            grave=True,
        ),
        Check(
            "unheld",
            "running jobs whose process nobody knows",
            "given back to the queue",
            grave=True,
        ),
        Check(
            "lost",
            "jobs in no state that have not ended",
            "put in line again; among the running if a process may be at them",
            grave=True,
        ),
        Check("remains", "ended jobs in no state", "deleted"),
        Check("debris", "records, errors or values of no job", "deleted"),
        Check(
            "nameless",
            "parked jobs that no worker would find",
            "put under their task's name again",
            grave=True,
        ),
        Check(
            "stranded",
            "jobs that wait for nothing",
            "put in line again",
            grave=True,
        ),
        Check("locked", "locks of jobs that have ended", "opened", grave=True),
        Check("entered", "places behind a limit of jobs that do not run", "given back", grave=True),
        Check("ungated", "names at a limit of jobs that do not wait", "deleted"),
        Check("unparked", "parked names of jobs that do not wait", "deleted"),
        Check("unasked", "requests to stop what does not run", "dropped"),
        Check("claimless", "last claims of processes that are gone", "deleted"),
        Check(
            "asleep",
            "ready jobs that wake nobody, or a token without a job",
            "the token in wake is set as it should be",
            passing=True,
            place="wake",
        ),
    )
}

EMPTIED = Failure(
    c=f"{MalformedJob.__module__}.{MalformedJob.__qualname__}",
    m="the job's arguments are gone from Redis",
)


class Swept(NamedTuple):
    """One chunk: where to go on (``place`` "": the walk is over), and what was found there."""

    place: str
    cursor: str
    looked: int
    found: dict[str, list[str]]  # a check's name -> ids


def swept(reply: Sequence[Any]) -> Swept:
    """The reply of ``sweep``."""
    found: dict[str, list[str]] = {}
    for at in range(3, len(reply), 2):
        found.setdefault(reply[at].decode(), []).append(reply[at + 1].decode("utf-8", "replace"))
    return Swept(reply[0].decode(), reply[1].decode(), reply[2], found)
