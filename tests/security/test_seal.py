"""Seals by themselves: what is sealed opens in its own place and nowhere else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.utils.crypto import salted_hmac
from hypothesis import given, settings
from hypothesis import strategies as st

from django_taskq.codec import OPEN, Seals, decode_envelope, decode_failures
from django_taskq.exceptions import BadSeal, KeyMissing, MalformedJob, PayloadTooLarge
from django_taskq.job import TRUNCATED, Envelope, Failure

OLD, NEW = b"o" * 32, b"n" * 32
SIGNING = Seals("p", secrets=["s3cret"])
HIDING = Seals("p", keys=[NEW])
BOTH = Seals("p", secrets=["s3cret"], keys=[NEW])
ALL = pytest.mark.parametrize("seals", [SIGNING, HIDING, BOTH], ids=["sign", "encrypt", "both"])

LIMIT = 1 << 20
ID = "job-1.1"
CALL = Envelope(t="shop.tasks.f", e=5, a=["canary", 2**70], k={"b": []}, o={"timeout": 3}, r=9)
FAILURE = Failure(c="a.B", m="canary", b="line\ncanary", w="h", s=1, f=2, n=3)


def opened(seals: Seals, id: str, raw: bytes) -> Envelope:
    return seals.decrypt_envelope(id, seals.verify_envelope(id, raw))


@ALL
def test_what_was_sealed_opens_again(seals: Seals) -> None:
    assert opened(seals, ID, seals.seal_envelope(ID, CALL, LIMIT)) == CALL
    assert seals.open_value(ID, seals.seal_value(ID, b'[1,"x"]')) == b'[1,"x"]'
    assert seals.open_failures(ID, "q", seals.seal_failure(ID, FAILURE)) == [FAILURE]
    notice = Failure(c="a.Cancelled", m="cancelled")
    assert seals.open_failures(ID, "q", seals.seal_notice("q", notice)) == [notice]


@ALL
def test_a_sealed_blob_is_one_line(seals: Seals) -> None:
    """Failures are joined by line breaks in common.lua, and taken apart there."""
    lines = [seals.seal_failure(ID, FAILURE), seals.seal_notice("q", FAILURE)]
    assert not any(b"\n" in line for line in (*lines, seals.seal_envelope(ID, CALL, LIMIT)))
    assert len(seals.open_failures(ID, "q", b"\n".join(lines))) == 2


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_value_comes_back(raw: bytes) -> None:
    assert BOTH.open_value(ID, BOTH.seal_value(ID, raw)) == raw


@pytest.mark.parametrize("seals", [HIDING, BOTH], ids=["encrypt", "both"])
def test_arguments_values_and_texts_are_unreadable_and_the_rest_is_not(seals: Seals) -> None:
    envelope = seals.seal_envelope(ID, CALL, LIMIT)
    blobs = [envelope, seals.seal_value(ID, b'"canary"'), seals.seal_failure(ID, FAILURE)]
    assert not any(b"canary" in blob for blob in blobs)

    seen = decode_envelope(envelope)  # as an operator's page reads it, without a key
    assert (seen.t, seen.e, seen.o, seen.r) == (CALL.t, CALL.e, CALL.o, CALL.r)
    assert (seen.a, seen.k) == ([], {})
    (failure,) = decode_failures(blobs[2])
    assert (failure.c, failure.w, failure.s, failure.f, failure.n) == ("a.B", "h", 1, 2, 3)


def test_the_same_text_is_never_the_same_twice() -> None:
    assert len({HIDING.seal_value(ID, b"1") for _ in range(100)}) == 100


def test_a_signature_is_what_django_makes_of_the_same_message() -> None:
    blob = SIGNING.seal_value(ID, b"1")
    message = b"5:value 1:p 7:job-1.1 0:" + b"1"
    expected = salted_hmac("django_taskq.seal:p:", message, "s3cret", algorithm="sha256")
    assert Seals("p", secrets=["s3cret"]).open_value(ID, blob) == b"1"
    assert blob[4:47] == _base64(expected.digest())


def _base64(raw: bytes) -> bytes:
    from base64 import b64encode

    return b64encode(raw).rstrip(b"=")


# --- bound to its place ---------------------------------------------------------------------------


@ALL
def test_nothing_moves_to_another_job(seals: Seals) -> None:
    with pytest.raises(BadSeal):
        opened(seals, "job-2.1", seals.seal_envelope(ID, CALL, LIMIT))
    with pytest.raises(BadSeal):
        seals.open_value("job-2.1", seals.seal_value(ID, b"1"))
    (failure,) = seals.open_failures("job-2.1", "q", seals.seal_failure(ID, FAILURE))
    assert failure.c.endswith("BadSeal")


@ALL
def test_nothing_moves_to_another_prefix(seals: Seals) -> None:
    blob = seals.seal_value(ID, b"1")
    other = Seals("other", secrets=["s3cret"], keys=[NEW])
    with pytest.raises(BadSeal):
        other.open_value(ID, blob)


def test_one_kind_does_not_pass_for_another() -> None:
    for seals in (SIGNING, HIDING):
        value = seals.seal_value(ID, b'["shop.tasks.f",1]')
        with pytest.raises(MalformedJob):
            opened(seals, ID, value)
    line = SIGNING.seal_failure(ID, FAILURE)
    with pytest.raises(BadSeal):
        SIGNING.open_value(ID, line)
    notice = SIGNING.seal_notice(ID, FAILURE)
    assert SIGNING.open_failures("job-2.1", "q", notice)[0].c.endswith("BadSeal")


def test_encrypted_arguments_are_bound_to_their_task() -> None:
    """Also where nothing is signed: f's password must not become g's message."""
    raw = HIDING.seal_envelope(ID, CALL, LIMIT).replace(b"shop.tasks.f", b"shop.tasks.g")
    with pytest.raises(BadSeal):
        opened(HIDING, ID, raw)


@pytest.mark.parametrize("seals", [SIGNING, BOTH], ids=["sign", "both"])
def test_no_byte_can_be_changed(seals: Seals) -> None:
    raw = seals.seal_envelope(ID, CALL, LIMIT)
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(BadSeal):
            seals.verify_envelope(ID, changed)


def test_no_byte_of_what_is_encrypted_can_be_changed() -> None:
    raw = HIDING.seal_value(ID, b"12345")
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        if changed[:1] != b"~":  # what is not encrypted is taken as it is, and this is no JSON
            continue
        with pytest.raises((BadSeal, KeyMissing)):
            HIDING.open_value(ID, changed)


# --- unsigned -------------------------------------------------------------------------------------


def test_what_is_not_signed_is_refused() -> None:
    with pytest.raises(BadSeal, match="not signed"):
        SIGNING.verify_envelope(ID, b'["shop.tasks.f",1]')
    for nothing in (b"", b"null", b"1"):
        with pytest.raises(BadSeal, match="not signed"):
            SIGNING.open_value(ID, nothing)
    (failure,) = SIGNING.open_failures(ID, "q", b'{"c":"a.B","m":"forged"}')
    assert failure.c.endswith("BadSeal")
    assert "forged" not in failure.m


def test_while_it_is_introduced_unsigned_is_taken_and_wrongly_signed_is_not() -> None:
    lenient = Seals("p", secrets=["s3cret"], lenient=True)
    assert lenient.verify_envelope(ID, b'["shop.tasks.f",1]').t == "shop.tasks.f"
    assert lenient.open_value(ID, b"1") == b"1"
    blob = lenient.seal_value(ID, b"1")
    assert SIGNING.open_value(ID, blob) == b"1"
    with pytest.raises(BadSeal, match="wrong"):
        lenient.open_value("job-2.1", blob)


def test_without_the_option_a_signature_is_passed_over() -> None:
    """So that SIGN can be switched on, and off again, while processes of both kinds run."""
    assert opened(OPEN, ID, SIGNING.seal_envelope(ID, CALL, LIMIT)) == CALL
    assert OPEN.open_value(ID, SIGNING.seal_value(ID, b"1")) == b"1"
    assert OPEN.open_failures(ID, "q", SIGNING.seal_failure(ID, FAILURE)) == [FAILURE]
    assert decode_envelope(SIGNING.seal_envelope(ID, CALL, LIMIT)) == CALL


def test_a_value_that_was_cut_says_so_sealed_or_not() -> None:
    assert BOTH.open_value(ID, TRUNCATED) == TRUNCATED


# --- keys -----------------------------------------------------------------------------------------


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old = Seals("p", keys=[OLD])
    rotated = Seals("p", keys=[NEW, OLD])
    assert rotated.open_value(ID, old.seal_value(ID, b"1")) == b"1"
    assert HIDING.open_value(ID, rotated.seal_value(ID, b"1")) == b"1"
    with pytest.raises(KeyMissing):
        HIDING.open_value(ID, old.seal_value(ID, b"1"))


def test_the_first_secret_signs_and_all_verify() -> None:
    old = Seals("p", secrets=["old"])
    rotated = Seals("p", secrets=["new", "old"])
    assert rotated.open_value(ID, old.seal_value(ID, b"1")) == b"1"
    assert Seals("p", secrets=["new"]).open_value(ID, rotated.seal_value(ID, b"1")) == b"1"


def test_a_key_that_is_missing_is_named_and_not_shown() -> None:
    with pytest.raises(KeyMissing, match="key named") as caught:
        OPEN.decrypt_envelope(ID, OPEN.verify_envelope(ID, HIDING.seal_envelope(ID, CALL, LIMIT)))
    assert "nnnn" not in str(caught.value)
    (failure,) = OPEN.open_failures(ID, "q", HIDING.seal_failure(ID, FAILURE))
    assert (failure.c, failure.n) == ("a.B", 3)
    assert "ENCRYPTION_KEYS" in failure.m


def test_a_made_up_signature_is_refused() -> None:
    with pytest.raises(BadSeal, match="wrong"):
        SIGNING.verify_envelope(ID, b"~s1." + b"A" * 43 + b'.["a.b",1]')


def test_what_is_not_encrypted_yet_is_still_read() -> None:
    assert opened(HIDING, ID, b'["shop.tasks.f",1,[2]]').a == [2]
    assert HIDING.open_value(ID, b"2") == b"2"


def test_keys_and_secrets_are_in_no_repr() -> None:
    keys = Seals("p", secrets=["hunter2"], keys=[b"k" * 32])
    shown = f"{keys!r} {keys} {keys._cipher!r}"
    assert "hunter2" not in shown
    assert "kkk" not in shown


# --- garbage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"~s1.",
        b"~s1." + b"A" * 43 + b".",
        b"~s2.x",
        b"~e1.AAAAAAAA.AAAA",
        b"~e1.AAAAAAAA.====",
        b"~",
        b"\xff\xfe",
        b"~e1." + b"A" * 5000,
    ],
)
@ALL
def test_garbage_is_an_error_with_a_name(seals: Seals, raw: bytes) -> None:
    with pytest.raises(MalformedJob):
        opened(seals, ID, raw)
    assert all(f.c for f in seals.open_failures(ID, "q", raw + b"\n" + raw))
    text = raw.decode("latin-1").replace("\xff", "").replace("\xfe", "")
    with pytest.raises((BadSeal, KeyMissing)):
        seals.decrypt_envelope(ID, Envelope(t="a.b", e=1, x=text or "x"))


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_survived(noise: bytes) -> None:
    for raw in (noise, b"~s1." + noise, b"~e1." + noise):
        for read in (
            lambda raw: BOTH.open_value(ID, raw),
            lambda raw: BOTH.open_failures(ID, "q", raw),
            lambda raw: opened(BOTH, ID, raw),
        ):
            _survives(read, raw)


def _survives(read: Any, raw: bytes) -> None:
    with suppress(MalformedJob, KeyMissing):
        read(raw)


def test_the_limit_counts_what_the_caller_gave() -> None:
    large = Envelope(t="a.b", e=1, a=["x" * 700_000])
    assert len(BOTH.seal_envelope(ID, large, 800_000)) > 800_000  # base64 takes a third more
    with pytest.raises(PayloadTooLarge):
        BOTH.seal_envelope(ID, large, 600_000)
