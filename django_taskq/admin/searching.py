"""What was asked for in the list of jobs: the fields of its form, and the words of its search box.

``task:NAME tag:NAME error:CLASS queue:NAME id:ID``, and anything else is looked for in arguments.
"""

from __future__ import annotations

import shlex
from math import isfinite
from typing import NamedTuple

from django.http import HttpRequest

from ..broker.inspector import Place
from ..finding import Filter
from ..job import MAX_ID_LENGTH, State
from . import rights, words

QUALIFIERS = ("task", "tag", "error", "queue", "id")
MOST_TEXT = 200


class Asked(NamedTuple):
    """What a person wants to see. ``state``: None for any, which is for searches alone."""

    queue: str = ""
    state: State | None = State.READY
    filter: Filter = Filter()
    id: str = ""
    order: str = "new"
    after: Place | None = None
    q: str = ""

    @property
    def newest_first(self) -> bool:
        return self.order != "old"

    @property
    def is_search(self) -> bool:
        return any(self.filter) or self.state is None

    def fields(self) -> dict[str, str]:
        """The same as parameters of an address, without the page."""
        return {
            "queue": self.queue,
            "state": str(self.state or "any"),
            "order": "" if self.newest_first else "old",
            "q": self.q,
            **self.filter._asdict(),
            "text": "" if self.q else self.filter.text,  # it came from there
        }

    def hidden(self) -> dict[str, str]:
        """What the form has no field for, and must keep."""
        return {name: value for name, value in self.fields().items() if value}


def asked(request: HttpRequest) -> Asked:
    """What a request asks for. What makes no sense is left out."""
    given = request.POST if request.method == "POST" else request.GET
    said = {
        name: given.get(name, "").strip()[:MOST_TEXT] for name in (*QUALIFIERS, "text", "place")
    }
    said, q = qualified(said, given.get("q", "").strip()[:MOST_TEXT])
    if not rights.may(request, rights.VIEW_ARGS):
        said["text"] = ""
    wanted = Filter(said["task"], said["tag"], said["error"], said["text"], said["place"])
    return Asked(
        queue=said["queue"],
        state=state_of(given.get("state", ""), is_search=any(wanted)),
        filter=wanted,
        id=said["id"],
        order=given.get("order", "new"),
        after=place_of(given.get("after", "")),
        q=q,
    )


def qualified(said: dict[str, str], q: str) -> tuple[dict[str, str], str]:
    """The fields with what the search box says. It beats the fields."""
    rest = []
    for word in split(q):
        name, colon, value = word.partition(":")
        if colon and name in QUALIFIERS and value:
            said[name] = value
        else:
            rest.append(word)
    if len(rest) == 1 and looks_like_an_id(rest[0]):
        said["id"] = rest[0]
    elif rest:
        said["text"] = " ".join(rest)
    return said, q


def split(q: str) -> list[str]:
    """Words; a quoted text is one. A quote that is never closed is a character."""
    try:
        return shlex.split(q)
    except ValueError:
        return q.split()


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
    return None if is_search or value == "any" else State.READY


def place_of(value: str) -> Place | None:
    """Where the page begins: ``score~id``."""
    score, tilde, id = value.partition("~")
    try:
        is_number = isfinite(float(score))
    except ValueError:
        return None
    return Place(score, id) if is_number and tilde and id and len(value) < 100 else None
