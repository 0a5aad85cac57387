"""The settings that sign and encrypt: what they may be, and what to do where they are not.

Layer 1: pure, no I/O.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from importlib.util import find_spec
from typing import Any

from .exceptions import InvalidOption


def check_sign(value: Any, name: str) -> bool | str:
    """The setting as it is kept. Raises InvalidOption, which never shows it: it may be a secret."""
    if value is True or value is False or value == "accept":
        return value  # type: ignore[no-any-return]
    raise InvalidOption(f"{name} must be True, False, or 'accept' while it is introduced")


MAKE_A_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'


def check_keys(value: Any, name: str) -> tuple[bytes, ...]:
    """The keys as bytes. Raises InvalidOption, which never shows one."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise InvalidOption(
            f"{name} is a {type(value).__name__}: it must be a list of keys, the first of which "
            f"encrypts; make one with: {MAKE_A_KEY}"
        )
    if texts and find_spec("cryptography") is None:
        raise InvalidOption(
            f"{name} needs the package cryptography: pip install 'django-taskq-redis[encryption]'"
        )
    return tuple(_key(text, f"{name}[{at}]") for at, text in enumerate(texts))


def _key(value: Any, name: str) -> bytes:
    text = value.strip().rstrip("=") if isinstance(value, str) else ""
    if re.fullmatch(r"[A-Za-z0-9_-]{43}", text):
        return urlsafe_b64decode(text + "=")
    raise InvalidOption(
        f"{name} is no key: it must be 32 bytes in URL-safe base64, 43 characters; make one with: "
        f"{MAKE_A_KEY}"
    )
