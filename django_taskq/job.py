"""A job: its states, the edges between them, and the two records that Redis keeps of it.

Layer 0: imports nothing of ours.
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from enum import StrEnum
from struct import Struct as Layout
from typing import Any, NamedTuple

import msgspec

ID_LENGTH = 22
OWN_ID_LENGTH = 36  # of an id of one's own
MAX_ID_LENGTH = OWN_ID_LENGTH + 9  # with a dot and the number of its queue


class State(StrEnum):
    """Where a job is. Every job is in exactly one state."""

    WAITING = "waiting"  # for room under its limits, or parked until a worker knows its task
    SCHEDULED = "scheduled"  # not due yet
    READY = "ready"
    RUNNING = "running"
    RETRYING = "retrying"  # failed, backing off
    SUCCEEDED = "succeeded"
    DEAD = "dead"  # failed for good, kept for a person
    CANCELLED = "cancelled"  # also expired


UNFINISHED = frozenset({State.WAITING, State.SCHEDULED, State.READY, State.RUNNING, State.RETRYING})
ENDED = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED})

# script -> edges. "new" is before the first state, "gone" after the last. Each script's header
# repeats its own row, and tests/broker/test_scripts.py holds the two against each other.
TRANSITIONS: dict[str, frozenset[tuple[str, str]]] = {
    "enqueue": frozenset({("new", "ready"), ("new", "scheduled")}),
    "exchange": frozenset(
        {
            ("ready", "running"),
            ("ready", "dead"),
            ("ready", "waiting"),
            ("waiting", "ready"),
            ("running", "succeeded"),
            ("running", "retrying"),
            ("running", "dead"),
            ("running", "cancelled"),
            ("running", "scheduled"),
            ("running", "ready"),
            ("succeeded", "gone"),
            ("dead", "gone"),
            ("cancelled", "gone"),
        }
    ),
    "promote": frozenset({("scheduled", "ready"), ("retrying", "ready"), ("waiting", "ready")}),
    "reclaim": frozenset(
        {
            ("running", "ready"),
            ("running", "dead"),
            ("running", "cancelled"),
            ("waiting", "ready"),
        }
    ),
    "cancel": frozenset(
        {
            ("waiting", "ready"),  # another, whose limit has room now
            ("waiting", "cancelled"),
            ("scheduled", "cancelled"),
            ("ready", "cancelled"),
            ("retrying", "cancelled"),
        }
    ),
    "retry": frozenset(
        {
            ("succeeded", "ready"),
            ("dead", "ready"),
            ("cancelled", "ready"),
            ("retrying", "ready"),
            ("succeeded", "scheduled"),
            ("dead", "scheduled"),
            ("cancelled", "scheduled"),
            ("retrying", "scheduled"),
        }
    ),
    "advance": frozenset({("scheduled", "ready"), ("retrying", "ready")}),
    "delete": frozenset({("succeeded", "gone"), ("dead", "gone"), ("cancelled", "gone")}),
    "trim": frozenset({("succeeded", "gone"), ("dead", "gone"), ("cancelled", "gone")}),
    "park": frozenset({("running", "waiting"), ("running", "cancelled"), ("waiting", "ready")}),
    "replace": frozenset(
        {
            ("waiting", "ready"),
            ("waiting", "scheduled"),
            ("scheduled", "ready"),
            ("ready", "scheduled"),
            ("retrying", "ready"),
            ("retrying", "scheduled"),
        }
    ),
    "release": frozenset({("waiting", "ready")}),
    "limit": frozenset({("waiting", "ready")}),
    "tick": frozenset({("new", "ready")}),
    "sweep": frozenset(  # mends what no script leaves behind
        {
            ("new", "ready"),
            ("new", "running"),
            ("ready", "dead"),
            ("running", "dead"),
            ("scheduled", "dead"),
            ("retrying", "dead"),
            ("waiting", "dead"),
            ("waiting", "ready"),
            ("succeeded", "gone"),
            ("cancelled", "gone"),
        }
    ),
}

_WORD = bytes.maketrans(b"+/", b"0z")  # an id is one word when it is double-clicked


def new_id() -> str:
    """A random name of 22 characters (126 bits), for jobs and holders."""
    return b2a_base64(os.urandom(16), newline=False)[:ID_LENGTH].translate(_WORD).decode()


def new_ids(count: int) -> list[str]:
    """``count`` random names for one system call."""
    noise = os.urandom(16 * count)
    return [
        b2a_base64(noise[at : at + 16], newline=False)[:ID_LENGTH].translate(_WORD).decode()
        for at in range(0, 16 * count, 16)
    ]


def word_of(digest: bytes) -> str:
    """A name of 22 characters that is made of a digest: the same for the same."""
    return b2a_base64(digest, newline=False)[:ID_LENGTH].translate(_WORD).decode()


ENCRYPTED = "~"  # the only name in an envelope's ``c`` when that is encrypted


class Envelope(msgspec.Struct, array_like=True):
    """What was asked for: written once at enqueue, opaque to every script.

    A JSON list without names, because a million of them wait in memory, and without the defaults
    at its end. One that is shorter has the defaults and what is behind the last known field is
    skipped, so neighbouring releases read each other's jobs: fields are added at the end, and
    none is ever taken away.
    """

    t: str  # task name
    e: int  # enqueued at, ms
    a: list[Any] = []  # positional arguments as JSON
    k: dict[str, Any] = {}  # keyword arguments as JSON
    o: dict[str, Any] = {}  # options that differ from the task's own
    r: int = 0  # run_after, ms; 0: at once
    x: str = ""  # the arguments encrypted (codec/seal.py); a and k are empty then
    c: dict[str, Any] = {}  # what goes along (context/): name -> JSON value

    @property
    def is_encrypted(self) -> bool:
        """Whether something in it has to be decrypted before it can run."""
        return bool(self.x) or ENCRYPTED in self.c

    def __repr__(self) -> str:
        """Without the arguments: this lands in logs and error pages."""
        return f"Envelope(t={self.t!r}, e={self.e}, o={self.o!r}, r={self.r})"


LIVE = Layout(">IIHBBBbQQQQI")


class Live(NamedTuple):
    """What scripts rewrite: one packed record per job that was ever claimed.

    A job without one (never claimed, no priority, no expiry) has all of it at zero. Times are
    ms of Redis' clock, 0 for never.
    """

    fence: int = 0  # rises at claim and at reclaim, nowhere else
    settled: int = 0  # the fence of the last accepted settle
    attempt: int = 0  # attempts that counted
    crashes: int = 0  # times the job took its child down
    lost: int = 0  # times its whole worker vanished
    parks: int = 0  # times it was parked in a row
    priority: int = 0
    expires: int = 0
    first_started: int = 0
    started: int = 0
    ended: int = 0
    request: int = 0  # the holder's request that claimed it
    holder: str = ""
    note: str = ""  # of a parked job: its task and why it waits

    @classmethod
    def decode(cls, raw: bytes | None) -> Live:
        """The record from its bytes; None, or what is none, gives the record of a fresh job."""
        if not raw or len(raw) < LIVE.size:
            return FRESH
        tail = raw[LIVE.size :].decode("utf-8", "replace")
        return cls._make((*LIVE.unpack_from(raw), tail[:ID_LENGTH].rstrip(), tail[ID_LENGTH:]))

    def encode(self) -> bytes:
        """The bytes as ``common.lua`` packs them."""
        return LIVE.pack(*self[:12]) + self.holder.ljust(ID_LENGTH).encode() + self.note.encode()


FRESH = Live()


class Grant(NamedTuple):
    """A job that a holder may run now."""

    queue: str
    id: str
    envelope: bytes
    live: Live
    errors: bytes = b""  # earlier failures, JSON lines

    def __repr__(self) -> str:
        """Without what the job carries."""
        return f"Grant({self.queue!r}, {self.id!r}, {len(self.envelope)} bytes, {self.live!r})"


class Failure(msgspec.Struct, omit_defaults=True):
    """One failed attempt, as kept in ``errors``."""

    c: str  # the exception's dotted class
    m: str = ""  # its message
    b: str = ""  # traceback
    w: str = ""  # holder that ran it
    s: int = 0  # started, ms
    f: int = 0  # finished, ms
    n: int = 0  # number of the attempt; 0: not counted
    r: str = ""  # release of the project that it ran, where that is known
    k: int = 0  # bytes that its process held when it failed; 0 unknown
    q: int = 0  # queries of a database that it made
    x: str = ""  # message and traceback encrypted (codec/seal.py); m and b are empty then


class Kind(StrEnum):
    """What an attempt came to; the letter is what the script reads."""

    SUCCEEDED = "S"
    RETRYING = "R"
    DEAD = "D"
    QUARANTINED = "Q"  # dead, and was never run: what Redis held is no job of ours
    CANCELLED = "C"
    SNOOZED = "Z"
    RETURNED = "G"  # given back, not started
    CRASHED = "X"  # its own process died of it; it runs again
    POISON = "K"  # so often that it is dead
    PARKED = "P"


TRUNCATED = b'{"$taskq":"truncated"}'  # stands for a value that Redis had no room for


class Outcome(NamedTuple):
    """The end of an attempt, on its way to be settled.

    ``blob``: the value (succeeded) or the list of failures, encoded; for a parked job the
    reason. ``delay``: ms until it runs again (retrying, snoozed) or ms it is kept (ended).
    """

    grant: Grant
    kind: Kind
    blob: bytes = b""
    delay: int = 0
    started: int = 0
    task: str = ""
    waited: int = -1  # ms from when it could run to its first start; -1: it had started before
    took: int = -1  # ms it ran; -1: it did not

    def __repr__(self) -> str:
        """Without the value or the failure."""
        return f"Outcome({self.grant!r}, {self.kind}, {len(self.blob)} bytes)"
