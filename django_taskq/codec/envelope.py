"""The records of a job as bytes: its envelope and its failures."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from ..exceptions import MalformedJob, PayloadTooLarge
from ..job import Envelope, Failure

LATEST = 253_402_300_800_000  # ms, the year 10000: what datetime can no longer show

# What msgspec raises on input that is not what it should be. DecodeError is a ValueError, and so
# are UnicodeDecodeError and the limit on digits; absurd nesting is a RecursionError.
UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()
_envelopes = msgspec.json.Decoder(Envelope)
_failures = msgspec.json.Decoder(Failure)

# The JSON of an object made of JSON's own types or msgspec structs.
encode = _encoder.encode

# What a signature is written as, before the blob: see seal.py. 43 characters and a dot follow.
SIGNED = b"~s1."
SEAL_SIZE = len(SIGNED) + 44


def is_signed(raw: bytes) -> bool:
    """Whether a signature stands before the blob; not whether it is right."""
    return raw[:4] == SIGNED and raw[SEAL_SIZE - 1 : SEAL_SIZE] == b"."


def decode(raw: bytes) -> Any:
    """What ``raw`` says. Raises MalformedJob for anything that is not JSON."""
    try:
        return _decoder.decode(raw)
    except UNREADABLE as error:
        raise MalformedJob(f"not JSON: {error}") from error


def encode_envelope(envelope: Envelope, limit: int) -> bytes:
    """The bytes that wait in Redis. Raises PayloadTooLarge for more than ``limit`` bytes."""
    raw = encode(plain_list(envelope))
    if len(raw) > limit:
        raise PayloadTooLarge(
            f"{envelope.t}: the job takes {len(raw):,} bytes once encoded, and MAX_PAYLOAD allows "
            f"{limit:,}. Store the data and pass its key, or raise OPTIONS['MAX_PAYLOAD']."
        )
    return raw


def plain_list(envelope: Envelope) -> list[Any]:
    """The envelope's fields without the defaults at its end."""
    if envelope.c:
        return list(msgspec.structs.astuple(envelope))
    if envelope.x:
        return list(msgspec.structs.astuple(envelope))[:-1]
    if envelope.r:
        return [envelope.t, envelope.e, envelope.a, envelope.k, envelope.o, envelope.r]
    if envelope.o:
        return [envelope.t, envelope.e, envelope.a, envelope.k, envelope.o]
    if envelope.k:
        return [envelope.t, envelope.e, envelope.a, envelope.k]
    return [envelope.t, envelope.e, envelope.a] if envelope.a else [envelope.t, envelope.e]


def decode_envelope(raw: bytes) -> Envelope:
    """The envelope in ``raw``. Raises MalformedJob, with a short reason, for any garbage.

    A signature is passed over, not verified, and encrypted arguments stay in ``x``: seal.py opens
    what is to be run or shown.
    """
    try:
        envelope = _envelopes.decode(raw)
    except UNREADABLE as error:
        envelope = _under_signature(raw, error)
    if not (0 <= envelope.e < LATEST and 0 <= envelope.r < LATEST):
        raise MalformedJob("the envelope cannot be read: a time is out of range")
    if not envelope.t:
        raise MalformedJob("the envelope cannot be read: it names no task")
    return envelope


def _under_signature(raw: bytes, error: Exception) -> Envelope:
    """Looked for only in what is no JSON, so that envelopes without one do not pay for it."""
    if is_signed(raw):
        try:
            return _envelopes.decode(raw[SEAL_SIZE:])
        except UNREADABLE as inner:
            error = inner
    raise MalformedJob(f"the envelope cannot be read: {error}") from error


def encode_failure(failure: Failure) -> bytes:
    """The JSON line for ``errors``. Text that UTF-8 cannot hold is escaped, never refused."""
    try:
        return encode(failure)
    except (UnicodeEncodeError, TypeError):
        return encode(_readable(failure))


def encode_failures(failures: Iterable[Failure]) -> bytes:
    """One JSON line per failure, as the scripts append them."""
    return b"\n".join(map(encode_failure, failures))


def decode_failures(raw: bytes | None) -> list[Failure]:
    """The failures in ``raw``, oldest first.

    A line that cannot be read is left out: the page that shows the others must not fail for it.
    """
    return [failure for line in (raw or b"").split(b"\n") if (failure := decode_failure(line))]


def decode_failure(line: bytes) -> Failure | None:
    """The failure in one line; None if it cannot be read. A signature is passed over."""
    if is_signed(line):
        line = line[SEAL_SIZE:]
    with suppress(*UNREADABLE):
        return _failures.decode(line)
    return None


def _readable(failure: Failure) -> Failure:
    """A copy with plain text: messages carry undecodable file names and subclasses of str."""
    texts = {
        name: str.__str__(getattr(failure, name)).encode("utf-8", "backslashreplace").decode()
        for name in ("c", "m", "b", "w")
    }
    return msgspec.structs.replace(failure, **texts)
