"""What an error of the server or of the network says about the call that met it."""

from __future__ import annotations

from enum import Enum

import redis

LOST_ERRORS = (redis.ConnectionError, redis.TimeoutError, OSError)
# The server's answer to what it could not carry out, as to a key of another type.
REFUSALS: tuple[type[Exception], ...] = (redis.ResponseError,)


class Fault(Enum):
    """Why a call has no answer, and so what may be done about it."""

    LOST = "lost"  # the connection broke: it may have been carried out
    ELSEWHERE = "elsewhere"  # not carried out: the slot has moved, or moves
    NOT_NOW = "not now"  # not carried out: the server takes no writes for a while
    DENIED = "denied"  # not carried out, and trying again is of no use
    FINAL = "final"  # an answer like any other


NOT_NOW = (
    "READONLY",  # a master that was replaced, and learnt of it
    "MASTERDOWN",
    "CLUSTERDOWN",
    "NOREPLICAS",  # min-replicas-to-write
    "LOADING",
    "BUSY",  # somebody's script runs long
)
ELSEWHERE = ("MOVED", "ASK", "TRYAGAIN")
CLASSES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Fault], ...] = (
    (redis.AuthenticationError, Fault.DENIED),
    (redis.exceptions.AuthorizationError, Fault.DENIED),
    (redis.BusyLoadingError, Fault.NOT_NOW),
    (LOST_ERRORS, Fault.LOST),
    (redis.exceptions.AskError, Fault.ELSEWHERE),  # MOVED too
    (redis.exceptions.TryAgainError, Fault.ELSEWHERE),
    (redis.exceptions.ClusterDownError, Fault.NOT_NOW),
    (redis.exceptions.MasterDownError, Fault.NOT_NOW),
    (redis.ReadOnlyError, Fault.NOT_NOW),
)


def fault_of(error: BaseException) -> Fault:
    """What the error says."""
    for kind, fault in CLASSES:
        if isinstance(error, kind):
            return fault
    word = str(error).partition(" ")[0]
    if word in NOT_NOW:
        return Fault.NOT_NOW
    if word in ELSEWHERE:
        return Fault.ELSEWHERE
    if word == "UNBLOCKED":  # a WAIT or a blocking read of a master that was replaced
        return Fault.LOST
    return Fault.DENIED if word == "MISCONF" else Fault.FINAL


def describe(error: BaseException) -> str:
    """An error's message in one line, without what a URL may carry."""
    text = str(error).split("\n", 1)[0] or type(error).__name__
    code = getattr(error, "status_code", None)  # redis-py cuts it off where it knows it
    return f"{code} {text}" if code and not text.startswith(code) else text
