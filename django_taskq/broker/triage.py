"""What somebody decided about failures that are the same: resolved, or ignored until a time.

Kept beside the queues, so that every screen works without a table; see frames.Fingerprint for what
is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from struct import Struct as Layout

import msgspec

from ..codec import LATEST, UNREADABLE
from ..frames import Fingerprint
from ..job import new_id
from .broker import Broker
from .calls import Command
from .keys import global_key
from .replies import letters, text

HEAD = Layout(">QQ22s")  # when, until when, token
FOR_GOOD = 0  # ms for which a verdict stands that has no end
DAY = 86_400_000
MOST_NAME = 150  # characters of who did something
MOST_REASON = 500  # characters of why


class Decision(StrEnum):
    """What can be decided. OPEN takes back what was."""

    OPEN = "open"
    IGNORED = "ignored"
    RESOLVED = "resolved"


# ms for which they stand. Dead jobs are kept for 90 days too, so what was resolved is gone by then;
# that nothing is decided need not be known for longer than a call may be sent again.
RESOLVED_FOR = 90 * DAY
REOPENED_FOR = DAY


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided about a group, by whom and why; stands until ``until``, 0 for good.

    Times are ms of Redis' clock. ``token`` tells it from those before and after it.
    """

    exception: str
    task: str
    place: str
    decision: Decision
    by: str = ""
    why: str = ""
    at: int = 0
    until: int = 0
    token: str = ""

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(self.exception, self.task, self.place)

    def is_over(self, now: int) -> bool:
        """Whether its time has passed."""
        return 0 < self.until <= now

    def holds(self, last: int, now: int) -> bool:
        """Whether the group need not be looked at, although it failed at ``last`` (ms)."""
        if self.is_over(now):
            return False
        if self.decision is Decision.RESOLVED:
            return last <= self.at
        return self.decision is Decision.IGNORED


class Triage:
    """The verdicts of one broker: 1,000 at most, the oldest make room."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def resolve(self, group: Fingerprint, seen: str, by: str) -> bool:
        """Out of the way until it fails again, for 90 days at most; see ``_decide()``."""
        return self._decide(group, seen, Decision.RESOLVED, RESOLVED_FOR, by, "")

    def ignore(self, group: Fingerprint, seen: str, by: str, why: str, lasts: int) -> bool:
        """Out of the way for so many ms, or FOR_GOOD; see ``_decide()``."""
        return self._decide(group, seen, Decision.IGNORED, lasts, by, why)

    def reopen(self, group: Fingerprint, seen: str, by: str) -> bool:
        """As if nothing had been decided; see ``_decide()``."""
        return self._decide(group, seen, Decision.OPEN, REOPENED_FOR, by, "")

    def _decide(
        self, group: Fingerprint, seen: str, decision: Decision, lasts: int, by: str, why: str
    ) -> bool:
        """Puts it down; False where somebody decided otherwise since ``seen``.

        ``seen``: the token of the verdict that whoever decides has seen, "" for none. It is also
        what keeps a call that is sent again from undoing what came after it.
        """
        said = Verdict(*group, decision, by[:MOST_NAME], why[:MOST_REASON])
        args = (group.digest, seen, new_id(), lasts, msgspec.json.encode(said))
        call = self._broker.timed_call("triage", "", args)
        return letters(self._broker.server.call(call)) == "O"

    def call(self) -> Command:
        """The call whose reply ``verdicts_in()`` understands."""
        return Command("HGETALL", global_key(self._broker.prefix, "verdicts"))


def verdicts_in(flat: Sequence[bytes]) -> dict[str, Verdict]:
    """The reply of ``Triage.call()``: a group's digest -> what was decided, over or not.

    What cannot be read is left out.
    """
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {text(digest): found for digest, raw in pairs if (found := verdict_of(raw))}


def verdict_of(raw: bytes) -> Verdict | None:
    """A verdict as Redis has it."""
    if len(raw) < HEAD.size:
        return None
    at, until, token = HEAD.unpack_from(raw)
    try:
        said = msgspec.json.decode(raw[HEAD.size :], type=Verdict)
    except UNREADABLE:
        return None
    if not (at < LATEST and until < LATEST):
        return None
    return msgspec.structs.replace(said, at=at, until=until, token=text(token))
