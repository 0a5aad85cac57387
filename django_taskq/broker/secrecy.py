"""Keeps passwords out of what the client library and the server say."""

from __future__ import annotations

from urllib.parse import quote

from ..address import Address

SHORTEST = 3  # characters of a password that is looked for in texts; a shorter one is none


def secrets_of(address: Address) -> list[str]:
    """The passwords of an address, in each form in which an error may quote them."""
    found = {**address.options, **{f"sentinel_{k}": v for k, v in address.sentinel.items()}}
    texts = [str(value) for name, value in found.items() if "password" in name]
    forms = {form for text in texts for form in (text, repr(text)[1:-1], quote(text, safe=""))}
    return sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)


def scrub(error: BaseException, secrets: list[str]) -> None:
    """Takes the secrets out of an error's text, and out of those that it came from."""
    seen: set[int] = set()
    each: BaseException | None = error
    while secrets and each is not None and id(each) not in seen:
        seen.add(id(each))
        each.args = tuple(_without(arg, secrets) for arg in each.args)
        each = each.__cause__ or each.__context__


def _without(arg: object, secrets: list[str]) -> object:
    text = str(arg)
    if not any(secret in text for secret in secrets):
        return arg
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
