"""Keeps what a URL holds of secrets out of messages: ours, and those of the client library."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote

SHORTEST = 3  # characters of a password that is looked for in texts; a shorter one is none


def secrets_of(url: str) -> list[str]:
    """The passwords in a URL, in each form in which an error may quote them; the longest first."""
    head = url.partition("://")[2].rpartition("@")[0]
    raw = [userinfo.partition(":")[2] for userinfo in head.split(",")]
    query = url.partition("?")[2].partition("#")[0]
    raw += [value for name, value in parse_qsl(query) if "password" in name.casefold()]
    forms = {form for text in raw for form in (text, unquote(text), quote(text, safe=""))}
    return sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)


def scrub(error: BaseException, secrets: list[str]) -> None:
    """Takes the secrets out of an error's text, and out of those that it came from."""
    seen: set[int] = set()
    each: BaseException | None = error
    while secrets and each is not None and id(each) not in seen:
        seen.add(id(each))
        if any(secret in str(each) for secret in secrets):
            each.args = tuple(_without(arg, secrets) for arg in each.args)
        each = each.__cause__ or each.__context__


def _without(arg: object, secrets: list[str]) -> object:
    text = str(arg)
    if not any(secret in text for secret in secrets):
        return arg
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
