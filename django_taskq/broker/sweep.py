"""What the sweep looks for: everything that no script leaves behind, and how it is mended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..codec import encode_failure
from ..exceptions import MalformedJob
from ..job import Failure

CHUNK = 100  # members looked at per call
FIRST = "ready"  # where a walk begins; the others follow in the order of sweep.lua


class Check(NamedTuple):
    """A kind of finding. ``passing``: it may be seen for a moment while all is well."""

    name: str
    what: str
    mended: str
    passing: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.mended}"


CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check(
            "hollow",
            "in a state, but their arguments are gone",
            "put among the dead; deleted if they had ended",
        ),
        Check("double", "in two states at once", "taken out of all but one, as their record says"),
        Check(
            "unheld",
            "running, but nobody knows the process that holds them",
            "given back to the queue",
        ),
        Check(
            "lost",
            "in no state, and not ended",
            "put in line again; among the running if a process may be at them",
        ),
        Check("remains", "ended, but in no state", "deleted"),
        Check("debris", "records, errors or values without a job", "deleted"),
        Check("unparked", "parked names of jobs that do not wait", "deleted"),
        Check("unasked", "asked to stop, but not running", "the request is dropped"),
        Check("claimless", "last claims of processes that are gone", "deleted"),
        Check(
            "asleep",
            "ready jobs that wake nobody",
            "a token is dropped into wake",
            passing=True,
        ),
    )
}

EMPTIED = Failure(
    c=f"{MalformedJob.__module__}.{MalformedJob.__qualname__}",
    m="the job's arguments are gone from Redis",
)
HOLLOW = encode_failure(EMPTIED)


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
