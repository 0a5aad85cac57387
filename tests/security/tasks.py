"""The tasks that the tests of this folder declare, enqueue and run."""

from __future__ import annotations

from typing import Any

from django.views.decorators.debug import sensitive_variables

from django_taskq import Cancel, Retry, task

RAN: list[Any] = []  # what ran in this process


@task
def double(n: int) -> int:
    RAN.append(n)
    return n * 2


@task
def nothing() -> None:
    RAN.append(None)


@task(max_attempts=3, backoff=0)
def grumble(text: str) -> str:
    raise ValueError(f"no good: {text}")


@task
def echo(text: str) -> str:
    return text


@task(sensitive=["password", "card"], max_attempts=2, backoff=0)
def log_in(user: str, password: str, card: dict[str, Any] | None = None, how: str = "") -> None:
    match how:
        case "retry":
            raise Retry(f"{user}: {password} was refused")
        case "cancel":
            raise Cancel(f"{password} is of nobody")
        case "chain":
            try:
                raise KeyError(password)
            except KeyError as error:
                raise RuntimeError(f"{user} is locked out") from error
        case "card":
            raise LookupError(f"no card {card}")
        case _:
            raise ValueError(f"{user} gave {password!r}")


def undeclared(password: str) -> None:
    """For tests that declare it."""


@task(sensitive=["token", "rest"])
def loose(first: int, *rest: Any, **others: Any) -> None:
    pass


@task(max_attempts=1)
@sensitive_variables("pin", "made_up")
def marked(user: str, pin: str) -> None:
    made_up = pin[::-1] + user
    helper(made_up)


def helper(value: str) -> None:
    raise ValueError(f"what is {value}?")


@task(max_attempts=1)
@sensitive_variables()
def all_marked(user: str, pin: str) -> None:
    raise ValueError(f"{user} has {pin}")


@task(max_attempts=1)
@sensitive_variables("pin")
async def async_marked(user: str, pin: str) -> None:
    raise ValueError(f"{user} has {pin}")


@task(max_attempts=1)
def innocent(user: str) -> None:
    inner(user, "correct horse")


@sensitive_variables("secret")
def inner(user: str, secret: str) -> None:
    raise ValueError(f"{user} knows {secret}")
