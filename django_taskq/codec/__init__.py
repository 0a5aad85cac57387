"""Between Python values and the JSON that waits in Redis: arguments, return values, envelopes.

Everything is checked at ``enqueue()``, where somebody can still do something about it: a value
that JSON cannot hold, or that would come back as something else, is refused with its path.

Layer 1: pure, no I/O. From the bottom up: ``plain`` walks values of JSON's own types, ``typed``
brings others back as their annotation names them and ``compare`` says whether it did, ``place``
is one parameter with the words for it, ``signature`` a whole call, which ``slots`` takes apart for
forms; ``envelope`` is what is stored,
``seal`` signs and encrypts it, ``redaction`` hides what must not be shown.
"""

from __future__ import annotations

from .envelope import (
    LATEST,
    UNREADABLE,
    decode,
    decode_envelope,
    decode_failures,
    encode,
    encode_envelope,
    encode_failure,
    encode_failures,
)
from .redaction import EVERYTHING, HIDDEN, Mask, printable, redact
from .seal import OPEN, Seals
from .signature import Signature

__all__ = [
    "EVERYTHING",
    "HIDDEN",
    "LATEST",
    "OPEN",
    "UNREADABLE",
    "Mask",
    "Seals",
    "Signature",
    "decode",
    "decode_envelope",
    "decode_failures",
    "encode",
    "encode_envelope",
    "encode_failure",
    "encode_failures",
    "printable",
    "redact",
]
