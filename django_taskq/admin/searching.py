"""What was asked for in the list of jobs: the fields of its form, and the words of its search box.

``task:NAME tag:NAME error:CLASS queue:NAME id:ID worker:ID attempt:>1 took:>10s arg.NAME:VALUE
user:ID request:ID``, and anything else is looked for in arguments.
"""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

from django.http import HttpRequest

from ..broker.inspector import Place
from ..clock import to_ms
from ..finding import Filter
from ..job import MAX_ID_LENGTH, State
from . import rights, words

# How a field of the form is called in the search box.
QUALIFIERS = {name: name for name in ("task", "tag", "error", "queue", "id", "worker")}
QUALIFIERS |= {"attempt": "tried", "took": "took", "user": "user", "request": "request"}
ARGUMENT = "arg."  # before the name of one
FIELDS = (*QUALIFIERS.values(), "arg", "text", "place")
CARRIED = ("text", "arg", "user", "request")  # for who may see what jobs carry
NUMBERS = ("tried", "took")
FOLDED = ("tag", "worker", "tried", "took", "arg", "user", "request")
MOST_SHOWN = 100  # characters of what was not understood
MOST_TEXT = 1_000  # characters: the exception and the place of a group have to be whole
AT_LEAST = re.compile(r"(>=?)?\s*([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(ms|s|m|min|h|d)?")
UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
SCORE = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")  # as Redis writes one
ANY, FAILED = "any", "failed"  # in the place of a state: all of them, and those that mean a failure
FAILURES = (State.DEAD, State.RETRYING)


class Asked(NamedTuple):
    """What a person wants to see.

    ``state``: None for several, which is for searches alone: those of failures where ``failed``
    says so, else all. A job that succeeded keeps the failures it had before, and is none.
    """

    queue: str = ""
    state: State | None = State.READY
    failed: bool = False
    filter: Filter = Filter()
    id: str = ""
    order: str = "new"
    after: Place | None = None
    q: str = ""
    since: str = ""  # of words.SPANS, from which the filter's moment came
    refused: tuple[str, ...] = ()  # what cannot be looked for, or not by this person: none matches

    @property
    def newest_first(self) -> bool:
        return self.order != "old"

    @property
    def is_search(self) -> bool:
        return any(self.filter) or self.state is None

    @property
    def states(self) -> tuple[State, ...]:
        """Those that are meant."""
        if self.state is not None:
            return (self.state,)
        return FAILURES if self.failed else tuple(State)

    @property
    def state_name(self) -> str:
        """The same as an address has it."""
        return str(self.state or (FAILED if self.failed else ANY))

    def fields(self) -> dict[str, str]:
        """The same as parameters of an address, without the page."""
        return {
            "queue": self.queue,
            "state": self.state_name,
            "order": "" if self.newest_first else "old",
            "q": self.q,
            **self.filter._asdict(),
            "since": self.since,
            "tried": str(self.filter.tried or ""),
            "took": self.took,
            "text": "" if self.q else self.filter.text,  # it came from there
        }

    @property
    def took(self) -> str:
        """How long the last attempt ran at least, as it is typed."""
        return span(self.filter.took)

    @property
    def has_more(self) -> bool:
        """Whether a field is used that the form keeps folded."""
        return any(getattr(self.filter, name) for name in FOLDED)

    def conditions(self) -> dict[str, str]:
        """What jobs have to match, each by the name of its field; whichever way it came."""
        said = {**self.fields(), "text": self.filter.text, "order": "", "q": ""}
        return {name: value for name, value in said.items() if value}

    def hidden(self) -> dict[str, str]:
        """What the form has no field for, and must keep."""
        return {name: value for name, value in self.fields().items() if value}


def asked(request: HttpRequest) -> Asked:
    """What a request asks for.

    A state, an order or a place in the list that makes no sense is left out. A condition is not:
    without it much more would match, and be deleted.
    """
    given = request.POST if request.method == "POST" else request.GET
    typed = {name: given.get(name, "").strip() for name in (*FIELDS, "q", "since")}
    said = {name: value[:MOST_TEXT] for name, value in typed.items()}
    q, since = said.pop("q"), said.pop("since")
    from_box, twice = qualified(q)
    said |= from_box
    may_see = rights.may(request, rights.VIEW_ARGS)
    too_long = [f"{value[:MOST_SHOWN]}…" for value in typed.values() if len(value) > MOST_TEXT]
    refused = [*twice, *too_long, *misunderstood(said, may_see=may_see)]
    if since and since not in words.SPANS:
        refused, since = [*refused, since[:MOST_SHOWN]], ""
    wanted = Filter(
        *(said["task"], said["tag"], said["error"], said["text"], said["place"]),
        since=to_ms(datetime.now(UTC) - words.SPANS[since][1]) if since else 0,
        worker=said["worker"],
        tried=at_least("tried", said["tried"]),
        took=at_least("took", said["took"]),
        arg=said["arg"],
        user=said["user"],
        request=said["request"],
    )
    return Asked(
        queue=said["queue"],
        state=state_of(given.get("state", ""), is_search=any(wanted)),
        failed=given.get("state", "") == FAILED,
        filter=wanted if may_see else wanted._replace(text="", arg="", user="", request=""),
        id=said["id"],
        order=given.get("order", "new"),
        after=place_of(given.get("after", "")),
        q=q,
        since=since,
        refused=tuple(dict.fromkeys(refused)),
    )


def misunderstood(said: dict[str, str], *, may_see: bool) -> list[str]:
    """The conditions that make no sense, or that the user may not search by, as words."""
    bad = [] if may_see else [name for name in CARRIED if said[name]]
    bad += [name for name in NUMBERS if said[name] and not at_least(name, said[name])]
    bad += ["arg"] if said["arg"] and not all(said["arg"].partition(":")) else []
    return [written(name, said[name]) for name in bad]


def qualified(q: str) -> tuple[dict[str, str], list[str]]:
    """The fields that the search box names, which beat those of the form; and words too many."""
    said: dict[str, str] = {}
    rest, twice = [], []
    for word in split(q):
        name, colon, value = word.partition(":")
        field = QUALIFIERS.get(name)
        if name.startswith(ARGUMENT) and name != ARGUMENT:
            field, value = "arg", word.removeprefix(ARGUMENT) if value else ""
        if not colon or field is None or not value:
            rest.append(word)
        elif field in said:
            twice.append(word)
        else:
            said[field] = value
    if len(rest) == 1 and looks_like_an_id(rest[0]):
        said["id"] = rest[0]
    elif rest:
        said["text"] = " ".join(rest)
    return said, twice


def written(field: str, value: str) -> str:
    """A field as the search box has it."""
    words = {field: f"{word}:" for word, field in QUALIFIERS.items()}
    return {**words, "arg": ARGUMENT, "text": ""}[field] + value


def at_least(name: str, text: str) -> int:
    """How many attempts, or ms, a text asks for: ``2``, ``>1``, ``>10s``, ``90m``; 0: it is none.

    More than a number of attempts is one more; a length of time is seconds without a unit.
    """
    match = AT_LEAST.fullmatch(text)
    if match is None:
        return 0
    sign, number, unit = match.groups()
    if name == "took":
        return round(float(number) * UNITS[unit or "s"])
    return int(number) + (sign == ">") if number.isdigit() and not unit else 0


def span(ms: int) -> str:
    """A length of time as ``at_least()`` reads it; "" for none."""
    fits = (
        f"{ms // UNITS[unit]}{unit}"
        for unit in ("d", "h", "min", "s", "ms")
        if not ms % UNITS[unit]
    )
    return next(fits) if ms else ""


def split(q: str) -> list[str]:
    """Words; a text in double quotes is one. A quote that is never closed is a character.

    All else is what it is: paths have backslashes, and names apostrophes.
    """
    words = shlex.shlex(q, posix=True)
    words.quotes, words.escape, words.commenters, words.whitespace_split = '"', "", "", True
    try:
        return list(words)
    except ValueError:
        return q.split()


def can_be_an_id(text: str) -> bool:
    """Whether a job may have it: what forms send goes into the log, and no database takes a NUL."""
    return 0 < len(text) <= MAX_ID_LENGTH and "\0" not in text


def looks_like_an_id(word: str) -> bool:
    """Whether a word ends like a job's id: a dot and the number of a queue."""
    name, dot, number = word.rpartition(".")
    known = len(name) >= 22 and number.isascii() and number.isdigit()
    return bool(dot) and known and len(word) <= MAX_ID_LENGTH


def state_of(value: str, *, is_search: bool) -> State | None:
    """The state asked for; without one a search looks at all, a list at what is ready."""
    named = words.state_named(value)
    if named is not None:
        return named
    return None if is_search or value in (ANY, FAILED) else State.READY


def place_of(value: str) -> Place | None:
    """Where the page begins: ``score~id``."""
    score, tilde, id = value.partition("~")
    is_number = SCORE.fullmatch(score) and isfinite(float(score))
    return Place(score, id) if is_number and tilde and id and len(value) < 100 else None
