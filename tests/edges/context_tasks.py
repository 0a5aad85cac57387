"""Tasks and providers of the tests of what goes along with jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.utils import timezone, translation

from django_taskq import task
from django_taskq.context import request_id, tenant, traceparent, user_id

colour: ContextVar[Any] = ContextVar("colour", default=None)
SEEN: list[Any] = []


def around() -> list[Any]:
    """What the code around can see."""
    return [
        translation.get_language(),
        timezone.get_current_timezone_name(),
        tenant.get(),
        user_id.get(),
        request_id.get(),
        traceparent.get(),
        colour.get(),
    ]


@task
def look() -> list[Any]:
    return around()


@task
async def alook() -> list[Any]:
    return around()


@task(max_attempts=1)
def fail() -> None:
    raise ValueError("the job's own")


@task
def nested() -> str:
    return str(look.enqueue().id)


@task
def activate(language: str) -> None:
    translation.activate(language)


class Colour:
    """A provider with everything a provider may have."""

    required = False

    def capture(self) -> Any:
        return colour.get()

    @contextmanager
    def restore(self, value: Any) -> Iterator[None]:
        if value == "unrestorable":
            raise ValueError("this colour cannot be restored")
        token = colour.set(value)
        try:
            yield
        except ValueError:
            SEEN.append("the job's error")  # and does not raise it again
        finally:
            colour.reset(token)
            if value == "unleavable":
                raise RuntimeError("this colour cannot be left")


class Needed(Colour):
    required = True


class Broken:
    """A provider that cannot capture."""

    def capture(self) -> Any:
        raise RuntimeError("nothing can be captured")

    restore = None


class BrokenNeeded(Broken):
    required = True

    def restore(self, value: Any) -> Any: ...


class BrokenCapture(Broken):
    def restore(self, value: Any) -> Any: ...


instance = Colour()
nonsense = object()


def capture() -> Any:
    """This module is a provider too: two functions."""
    return colour.get()


def restore(value: Any) -> Any:
    return instance.restore(value)
