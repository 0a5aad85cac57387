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
OF_ONE_SCAN = 50  # matches after which one of its looks ends
HEAD = 4096  # bytes of an envelope that a page reads
NAME = 512  # bytes of an envelope in which its task's name stands
TAIL = 2048  # bytes of its last failure
WIDTH = 7  # parts that a job has in a reply


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
    failure: bytes
    failures: int

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
            *(self.match.text, self.match.failing),
            *self.match.tasks,
        )
        return broker.operator_call("scan", self.queue, args, timed=False)


class Found(NamedTuple):
    """What a scan answers. ``end``: the last job looked at; None when none is behind it."""

    looked: int
    end: Place | None
    rows: list[Row]


class Page(NamedTuple):
    """Jobs of a list. ``after``: where the next page begins; None for none."""

    rows: list[Row]
    after: Place | None
    looked: int = 0


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
    live, failure, failures = rest
    record = Live.decode(live)
    return Row(
        text(id), asked.queue, asked.state, text(score), envelope, size, record, failure, failures
    )


def page(
    broker: Broker,
    queues: Sequence[str],
    state: State,
    after: Place | None = None,
    *,
    newest_first: bool = True,
    size: int = PAGE,
) -> Page:
    """A page of one state, of several queues merged by their scores; one round trip."""
    asked = [
        Scan(queue, state, newest_first=newest_first, after=after, most=size + 1)
        for queue in queues
    ]
    rows = [each for answer in scan(broker, asked) for each in answer.rows]
    rows.sort(key=lambda each: (float(each.score), each.id.encode()), reverse=newest_first)
    more = len(rows) > size
    rows = rows[:size]
    return Page(rows, rows[-1].place if more else None, len(rows))


def search(
    broker: Broker,
    sizes: Mapping[tuple[str, State], int],
    matches: Sequence[Match],
    head: int = HEAD,
    tail: int = TAIL,
) -> Page:
    """The newest jobs that may match one of them, of several states and queues; one round trip.

    ``sizes``: how many there are of each, among which the MOST_SEARCHED are shared out. Whoever
    asks still has to look whether a job is really meant: what is found is a text in JSON.
    """
    asked = [
        Scan(queue, state, match, skip=skip, most=most, answers=OF_ONE_SCAN, head=head, tail=tail)
        for (queue, state), count in shared_out(sizes, MOST_SEARCHED).items()
        for skip, most in pieces(count)
        for match in matches
    ]
    rows: dict[tuple[str, str], Row] = {}
    looked = 0
    for answer in scan(broker, asked):
        looked += answer.looked
        rows |= {(each.queue, each.id): each for each in answer.rows}
    return Page(list(rows.values()), None, looked // max(len(matches), 1))


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
                rows.append(row(asked, id.encode(), score, envelope, size, live, b"", 0))
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


def pieces(count: int) -> Iterator[tuple[int, int]]:
    """(skip, most) of the scans that look at ``count`` jobs."""
    for skip in range(0, count, CHUNK):
        yield skip, min(CHUNK, count - skip)


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
