"""Jobs page by page: those of some states, in some queues, that match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...job import Live, State
from ..broker import CHUNK, HOUSEKEEPING, Broker, chunks
from ..calls import Call
from ..replies import text

PAGE = 50  # jobs of a page
MOST_SEARCHED = 10_000  # newest jobs that a search looks at
MOST_FOUND = 200  # jobs that a search shows
WHOLE = 20  # jobs that one look reads however large they are: scan.lua's STEP
HEAD = 4096  # bytes of an envelope that a page reads
NAME = 512  # bytes of an envelope in which its task's name stands
TAIL = 2048  # bytes of its last failure
WIDTH = 8  # parts that a job has in a reply


class Place(NamedTuple):
    """Where a page ends. Scores are as Redis writes them, so that none is rounded."""

    score: str
    id: str


class Row(NamedTuple):
    """A job in a list. ``envelope`` and ``failure`` (the last one) may be cut."""

    id: str
    queue: str
    state: State
    score: str
    envelope: bytes
    size: int  # of the whole envelope
    live: Live
    failure: bytes = b""
    failure_size: int = 0  # of the whole line
    failures: int = 0

    @property
    def place(self) -> Place:
        return Place(self.score, self.id)

    def __repr__(self) -> str:
        """Without what the job carries."""
        return f"Row({self.id!r}, {self.queue!r}, {self.state}, {self.size} bytes)"


class Match(NamedTuple):
    """What a job must have. ``tasks``: one of these names; texts are looked for as they stand."""

    tasks: tuple[str, ...] = ()
    text: str = ""  # in the envelope
    failing: str = ""  # in the last failure
    holder: str = ""  # in the id of the holder that has it, or had it last
    tried: int = 0  # attempts at least
    took: int = 0  # ms that the last one ran, or runs, at least; of failed ones too many are found

    def __bool__(self) -> bool:
        return any(self)


class Scan(NamedTuple):
    """One look at one state of one queue, of at most CHUNK jobs."""

    queue: str
    state: State
    match: Match = Match()
    newest_first: bool = True
    after: Place | None = None
    skip: int = 0
    most: int = CHUNK
    answers: int = CHUNK
    head: int = HEAD
    tail: int = TAIL

    def call(self, broker: Broker) -> Call:
        """As it is sent."""
        args = (
            self.state,
            "desc" if self.newest_first else "asc",
            *(self.after or ("", "")),
            *(self.skip, self.most, self.answers, self.head, self.tail),
            *self.match[1:],
            *self.match.tasks,
        )
        return broker.operator_call("scan", self.queue, args, timed=True)


class Found(NamedTuple):
    """What a scan answers. ``end``: the last job looked at; None when none is behind it."""

    looked: int
    end: Place | None
    rows: list[Row]


class Page(NamedTuple):
    """Jobs of a list. ``after``: where the next page begins; None for none.

    ``is_part``: a search did not look at all that it was to look at, so there may be more.
    """

    rows: list[Row]
    after: Place | None
    looked: int = 0
    is_part: bool = False


def scan(broker: Broker, scans: Sequence[Scan]) -> list[Found]:
    """All of them in one round trip."""
    replies = broker.server.call_many([each.call(broker) for each in scans]) if scans else []
    return [found(each, reply) for each, reply in zip(scans, replies, strict=True)]


def found(asked: Scan, reply: Sequence[Any]) -> Found:
    """The reply of ``scan``."""
    looked, score, last, *parts = reply
    rows = [row(asked, *parts[at : at + WIDTH]) for at in range(0, len(parts), WIDTH)]
    end = Place(text(score), text(last)) if last else None
    return Found(looked, end, rows)


def row(asked: Scan, id: bytes, score: bytes, envelope: bytes, size: int, *rest: Any) -> Row:
    live, *failure = rest
    record = Live.decode(live)
    return Row(text(id), asked.queue, asked.state, text(score), envelope, size, record, *failure)


def page(
    broker: Broker,
    queues: Sequence[str],
    state: State,
    after: Place | None = None,
    *,
    newest_first: bool = True,
    size: int = PAGE,
) -> Page:
    """A page of one state, of several queues merged by their scores; one round trip.

    Shorter than ``size`` where jobs are so large that a look ended early: what other queues have
    behind that place is for the next page, which begins there.
    """
    asked = [
        Scan(queue, state, newest_first=newest_first, after=after, most=size + 1)
        for queue in queues
    ]
    answers = scan(broker, asked)
    rows = [each for answer in answers for each in answer.rows]
    rows.sort(key=lambda each: order_of(each.place), reverse=newest_first)
    more = len(rows) > size
    if ends := [order_of(answer.end) for answer in answers if answer.end]:
        more = True
        if newest_first:
            rows = [each for each in rows if order_of(each.place) >= max(ends)]
        else:
            rows = [each for each in rows if order_of(each.place) <= min(ends)]
    rows = rows[:size]
    return Page(rows, rows[-1].place if more and rows else None, len(rows))


def order_of(place: Place) -> tuple[float, bytes]:
    """Places in the order in which Redis has them."""
    return float(place.score), place.id.encode()


def search(
    broker: Broker,
    sizes: Mapping[tuple[str, State], int],
    matches: Sequence[Match],
    head: int = HEAD,
    tail: int = TAIL,
) -> Page:
    """The newest jobs that may match one of them, of several states and queues; one round trip.

    ``sizes``: how many there are of each, among which the MOST_SEARCHED are shared out. Whoever
    asks still has to look whether a job is really meant: what is found is a text in JSON. A look
    ends after one match more than is shown, and where jobs are large.
    """
    most_found = MOST_FOUND + 1
    asked = [
        Scan(queue, state, match, skip=skip, most=most, answers=most_found, head=head, tail=tail)
        for (queue, state), count in shared_out(sizes, MOST_SEARCHED).items()
        for skip, most in pieces(count)
        for match in matches
    ]
    rows: dict[tuple[str, str], Row] = {}
    looked, is_part = 0, False
    for look, answer in zip(asked, scan(broker, asked), strict=True):
        looked += answer.looked
        is_part |= answer.looked < look.most and answer.end is not None
        rows |= {(each.queue, each.id): each for each in answer.rows}
    return Page(list(rows.values()), None, looked // max(len(matches), 1), is_part)


def peek(broker: Broker, wanted: Mapping[str, Sequence[str]], head: int = HEAD) -> list[Row]:
    """The jobs of these ids, by queue, that there are; without their failures; one round trip."""
    parts = [(queue, chunk) for queue, ids in wanted.items() for chunk in chunks(ids, HOUSEKEEPING)]
    calls = [
        broker.operator_call("peek", queue, (head, *chunk), timed=False) for queue, chunk in parts
    ]
    replies = broker.server.call_many(calls) if calls else []
    rows = []
    for (queue, chunk), reply in zip(parts, replies, strict=True):
        for id, (state, score, envelope, size, live) in zip(chunk, reply, strict=True):
            if state:
                asked = Scan(queue, State(text(state)))
                rows.append(row(asked, id.encode(), score, envelope, size, live))
    return rows


def shared_out(sizes: Mapping[tuple[str, State], int], most: int) -> dict[tuple[str, State], int]:
    """How many to look at of each, fairly: small ones whole, large ones alike."""
    left = most
    shares: dict[tuple[str, State], int] = {}
    waiting = sorted((size, key) for key, size in sizes.items() if size)
    for at, (size, key) in enumerate(waiting):
        shares[key] = min(size, left // (len(waiting) - at))
        left -= shares[key]
    return {key: share for key, share in shares.items() if share}


def pieces(count: int, size: int = CHUNK) -> Iterator[tuple[int, int]]:
    """(skip, most) of the scans that look at ``count`` jobs, so many each."""
    for skip in range(0, count, size):
        yield skip, min(size, count - skip)


def walk(
    broker: Broker,
    queue: str,
    state: State,
    match: Match,
    head: int = HEAD,
    tail: int = TAIL,
) -> Iterator[Found]:
    """Every job of a state that may match, the oldest first, in chunks; for work that takes long.

    What comes meanwhile is met too, if it stands behind: the caller has to know when to stop.
    """
    after: Place | None = None
    first = Scan(queue, state, match, newest_first=False, answers=100, head=head, tail=tail)
    while True:
        asked = first._replace(after=after)
        (answer,) = scan(broker, [asked])
        yield answer
        if answer.end is None or not answer.looked:
            return
        after = answer.end
