"""Seals: what waits in Redis, signed and encrypted, each blob bound to its job and its kind.

A signed blob is ``~s1.<HMAC-SHA256>.<blob>``, an encrypted text ``~e1.<key's name>.<AES-256-GCM>``,
both without line breaks. No JSON begins with ``~``, so neither is ever taken for a plain value.
What is encrypted are arguments, values, and the texts of failures; task, times and options stay
readable. It is signed after that, as a whole. docs/security.md says what it is good for.
"""

from __future__ import annotations

import os
import re
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Iterable, Sequence
from copy import copy
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Any

from msgspec.structs import replace

from ..exceptions import BadSeal, KeyMissing
from ..job import ENCRYPTED, TRUNCATED, Envelope, Failure
from .envelope import (
    SEAL_SIZE,
    SIGNED,
    decode,
    decode_envelope,
    decode_failure,
    encode,
    encode_envelope,
    encode_failure,
    is_signed,
)

CALL, VALUE, FAILURE, NOTICE = b"call", b"value", b"failure", b"notice"
REPORT = b"report"
ALONG = b"along"
UNLIMITED = 1 << 62  # the limit is for what the caller gave, not for what sealing adds

_SALT = "django_taskq.seal:"
_ENCRYPTED = re.compile(rb"~e1\.([A-Za-z0-9+/]{8})\.([A-Za-z0-9+/]+={0,2})")
_SALT_SIZE = 16
_NONCE = bytes(12)  # each key is used once, see Cipher


class Cipher:
    """One key. ``name`` tells keys apart in what they encrypted, and says nothing about the key.

    Every text has a key of its own, derived from ours and 16 random bytes. AES-GCM must never see
    a nonce twice under one key, and random nonces under a fixed key would do for 2**32 texts only,
    which a busy queue reaches within days.
    """

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._gcm = AESGCM
        self._key = key
        self.name = b2a_base64(digest(key, b"django_taskq.name", "sha256")[:6], newline=False)

    def encrypt(self, text: bytes, context: bytes) -> bytes:
        """The text in one line of ASCII, to be read under the same context only."""
        salt = os.urandom(_SALT_SIZE)
        sealed = self._once(salt).encrypt(_NONCE, text, context)
        return b"~e1.%b.%b" % (self.name, b2a_base64(salt + sealed, newline=False))

    def decrypt(self, raw: bytes, context: bytes) -> bytes:
        """The text again. Raises ValueError, which says nothing of why, for anything else."""
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(self._once(raw[:_SALT_SIZE]).decrypt(_NONCE, raw[_SALT_SIZE:], context))
        except InvalidTag:
            raise ValueError from None

    def _once(self, salt: bytes) -> Any:
        return self._gcm(digest(self._key, b"django_taskq.text" + salt, "sha256"))


class Seals:
    """Seals and opens what Redis keeps of one backend's jobs.

    ``secrets``: the first signs, all verify; none: nothing is signed, and what is signed is not
    verified. ``lenient``: what is not signed is taken too. ``keys`` (32 bytes each): the first
    encrypts, all decrypt; none: nothing is encrypted. What was not encrypted is always taken.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        secrets: Iterable[str | bytes] = (),
        keys: Iterable[bytes] = (),
        lenient: bool = False,
    ) -> None:
        salt = f"{_SALT}{prefix}:".encode()
        texts = (text.encode() if isinstance(text, str) else text for text in secrets)
        # What django.utils.crypto.salted_hmac() derives, once instead of for each blob.
        self._secrets: Sequence[bytes] = [sha256(salt + text).digest() for text in texts]
        ciphers = [Cipher(key) for key in keys]
        self._cipher = ciphers[0] if ciphers else None
        self._ciphers = {cipher.name: cipher for cipher in ciphers}
        own = prefix.encode()
        self._heads = {
            kind: b"%d:%b %d:%b" % (len(kind), kind, len(own), own)
            for kind in (CALL, VALUE, FAILURE, NOTICE, ALONG, REPORT)
        }
        self._lenient = lenient

    @property
    def encrypts(self) -> bool:
        """Whether what is sealed here is encrypted."""
        return self._cipher is not None

    def without_keys(self) -> Seals:
        """The same, which verifies what is signed and leaves encrypted what is encrypted."""
        other = copy(self)
        other._cipher, other._ciphers = None, {}
        return other

    # -- envelopes -------------------------------------------------------------------------------

    def seal_envelope(self, id: str, envelope: Envelope, limit: int) -> bytes:
        """The bytes that wait in Redis. Raises PayloadTooLarge above ``limit`` bytes, unsealed."""
        raw = encode_envelope(envelope, limit)
        if self._cipher is not None:
            raw = encode_envelope(self._encrypted(self._cipher, id, envelope), UNLIMITED)
        return self._signed(CALL, id, raw)

    def _encrypted(self, cipher: Cipher, id: str, envelope: Envelope) -> Envelope:
        """Without arguments and what goes along, where there are any."""
        if envelope.a or envelope.k:
            call = encode([envelope.a, envelope.k])
            text = cipher.encrypt(call, self._context(CALL, id, envelope.t)).decode()
            envelope = replace(envelope, a=[], k={}, x=text)
        if envelope.c:
            own = self._context(ALONG, id, envelope.t)
            text = cipher.encrypt(encode(envelope.c), own).decode()
            envelope = replace(envelope, c={ENCRYPTED: text})
        return envelope

    def verify_envelope(self, id: str, raw: bytes) -> Envelope:
        """The envelope, its arguments still encrypted. Raises MalformedJob, BadSeal among them."""
        return decode_envelope(self._verified(CALL, id, raw))

    def decrypt_envelope(self, id: str, envelope: Envelope) -> Envelope:
        """The same with its arguments. Raises BadSeal or KeyMissing."""
        if envelope.x:
            call = self._decrypted(self._context(CALL, id, envelope.t), envelope.x.encode())
            match decode(call):
                case [list(args), dict(kwargs)]:
                    envelope = replace(envelope, a=args, k=kwargs, x="")
                case _:
                    raise BadSeal("what was encrypted are no arguments")
        if ENCRYPTED in envelope.c:
            text = str(envelope.c[ENCRYPTED]).encode()
            match decode(self._decrypted(self._context(ALONG, id, envelope.t), text)):
                case dict(along):
                    envelope = replace(envelope, c=along)
                case _:
                    raise BadSeal("what was encrypted is nothing that goes along")
        return envelope

    # -- values ----------------------------------------------------------------------------------

    def seal_value(self, id: str, raw: bytes) -> bytes:
        """A return value's JSON as it is kept; None too, so that none can be put in its place."""
        return self._sealed(VALUE, id, raw)

    def open_value(self, id: str, raw: bytes) -> bytes:
        """The JSON of a kept value, b"" for None; or TRUNCATED. Raises BadSeal or KeyMissing."""
        return raw if raw == TRUNCATED else self._opened(VALUE, id, raw)

    def seal_report(self, id: str, raw: bytes) -> bytes:
        """What a job says of itself, as it is kept."""
        return self._sealed(REPORT, id, raw)

    def open_report(self, id: str, raw: bytes) -> bytes:
        """The JSON of a kept report. Raises BadSeal or KeyMissing."""
        return self._opened(REPORT, id, raw)

    def _sealed(self, kind: bytes, id: str, raw: bytes) -> bytes:
        if self._cipher is not None:
            raw = self._cipher.encrypt(raw, self._context(kind, id))
        return self._signed(kind, id, raw)

    def _opened(self, kind: bytes, id: str, raw: bytes) -> bytes:
        raw = self._verified(kind, id, raw)
        return self._decrypted(self._context(kind, id), raw) if raw.startswith(b"~") else raw

    # -- failures --------------------------------------------------------------------------------

    def seal_failure(self, id: str, failure: Failure) -> bytes:
        """The line of one failed attempt; its message and traceback may quote arguments."""
        if self._cipher is not None:
            texts = encode_failure(Failure(c="", m=failure.m, b=failure.b))
            text = self._cipher.encrypt(texts, self._context(FAILURE, id)).decode()
            failure = replace(failure, m="", b="", x=text)
        return self._signed(FAILURE, id, encode_failure(failure))

    def seal_notice(self, queue: str, failure: Failure) -> bytes:
        """The line that a script gives to several jobs of a queue; its text is our own."""
        return self._signed(NOTICE, queue, encode_failure(failure))

    def open_failures(self, id: str, queue: str, raw: bytes | None) -> list[Failure]:
        """The failures of a job, oldest first.

        In the place of a line that is not what we wrote stands one that says so; one that can
        not be read at all is left out, as decode_failures() does.
        """
        lines = (raw or b"").split(b"\n")
        return [failure for line in lines if line and (failure := self._failure(id, queue, line))]

    def _failure(self, id: str, queue: str, line: bytes) -> Failure | None:
        try:
            failure = decode_failure(self._verified_line(id, queue, line))
            if failure is None or not failure.x:
                return failure
            return self._with_texts(id, failure)
        except BadSeal as error:
            return Failure(c=f"{BadSeal.__module__}.{BadSeal.__qualname__}", m=str(error))

    def _with_texts(self, id: str, failure: Failure) -> Failure:
        try:
            text = self._decrypted(self._context(FAILURE, id), failure.x.encode())
        except KeyMissing as error:
            return replace(failure, m=f"({error})", x="")
        texts = decode_failure(text) or Failure(c="")
        return replace(failure, m=texts.m, b=texts.b, x="")

    def _verified_line(self, id: str, queue: str, line: bytes) -> bytes:
        try:
            return self._verified(FAILURE, id, line)
        except BadSeal:
            if not is_signed(line):
                raise
            return self._verified(NOTICE, queue, line)

    # -- signatures ------------------------------------------------------------------------------

    def _signed(self, kind: bytes, name: str, blob: bytes) -> bytes:
        if not self._secrets:
            return blob
        return b"%b%b.%b" % (SIGNED, self._signature(self._secrets[0], kind, name, blob), blob)

    def _signature(self, secret: bytes, kind: bytes, name: str, blob: bytes) -> bytes:
        message = self._context(kind, name) + blob
        return b2a_base64(digest(secret, message, "sha256"), newline=False)[:-1]  # without its "="

    def _verified(self, kind: bytes, name: str, raw: bytes) -> bytes:
        """The blob under a signature."""
        if not is_signed(raw):
            if self._secrets and not self._lenient:
                raise BadSeal("it is not signed, and OPTIONS['SIGN'] is on here")
            return raw
        blob = raw[SEAL_SIZE:]
        if self._secrets:
            given = raw[len(SIGNED) : SEAL_SIZE - 1]
            if not any(
                compare_digest(given, self._signature(secret, kind, name, blob))
                for secret in self._secrets
            ):
                raise BadSeal(
                    "its signature is wrong: changed, of another job, or of a secret "
                    "that is not in SECRET_KEY or SECRET_KEY_FALLBACKS here"
                )
        return blob

    # -- encryption ------------------------------------------------------------------------------

    def _decrypted(self, context: bytes, raw: bytes) -> bytes:
        parts = _ENCRYPTED.fullmatch(raw)
        if parts is None:
            raise BadSeal("what was encrypted cannot be read")
        cipher = self._ciphers.get(parts[1])
        if cipher is None:
            raise KeyMissing(
                f"encrypted with the key named {parts[1].decode()}, which is not in "
                "OPTIONS['ENCRYPTION_KEYS'] here"
            )
        try:
            return cipher.decrypt(a2b_base64(parts[2], strict_mode=True), context)
        except (Error, ValueError):
            raise BadSeal("what was encrypted was changed, or is another job's") from None

    def _context(self, kind: bytes, name: str, task: str = "") -> bytes:
        """What a blob is bound to; the lengths keep one part from passing for another."""
        names = _bytes(name), _bytes(task)
        return b"%b %d:%b %d:%b" % (
            self._heads[kind],
            len(names[0]),
            names[0],
            len(names[1]),
            names[1],
        )


def _bytes(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode("utf-8", "backslashreplace")


OPEN = Seals()  # neither option: takes what is plain or signed, and names the key it would need
