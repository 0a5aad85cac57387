"""Scripts with one line changed, and the tests that have to notice: what tests of tests share."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from django_taskq.broker import scripts
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from tests.conftest import FakeTime, delete_keys

Law = Callable[..., None]
Made = Callable[[Broker, FakeTime, set[str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Mutant:
    """``old`` is what ``script`` says, ``new`` what it says instead.

    One whose text is no longer in its script fails loudly, so that the lists follow the scripts.
    """

    name: str
    script: str
    old: str
    new: str = ""

    def load(self, name: str) -> scripts.Script:
        """In place of ``scripts.load``."""
        script = scripts.load(name)
        if name != self.script:
            return script
        if script.source.count(self.old) != 1:
            pytest.fail(f"{name}.lua has no longer one {self.old!r}: mend the mutant")
        source = script.source.replace(self.old, self.new)
        sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        return replace(script, source=source, sha=sha)


def each(mutants: Iterable[Mutant]) -> pytest.MarkDecorator:
    """A test of each of them."""
    return pytest.mark.parametrize("mutant", mutants, ids=lambda mutant: mutant.name)


def laws(*modules: ModuleType, known: Iterable[str]) -> Iterator[Law]:
    """The tests of modules that need no fixtures but these, with each of their parameters."""
    for name, test in [pair for module in modules for pair in vars(module).items()]:
        if name.startswith("test_"):
            for law in with_parameters(test):
                if set(missing(law)) <= {*known}:
                    yield law


def with_parameters(test: Law) -> list[Law]:
    """A test, or one for each value of its parameter."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    if len(marks) > 1 or any("," in mark.args[0] for mark in marks):
        return []
    given = [(mark.args[0], value) for mark in marks for value in mark.args[1]]
    return [partial(test, **{name: value}) for name, value in given] or [test]


def missing(law: Law) -> list[str]:
    """The arguments that a test still wants."""
    given = law.keywords if isinstance(law, partial) else {}
    return [name for name in inspect.signature(law).parameters if name not in given]


def check(server: Server, all_: Iterable[Law], made: Made = lambda *_: {}) -> None:
    """Runs the tests until one fails, each with a broker and a clock, and what ``made`` adds.

    ``made`` is told which arguments a test wants.
    """
    for law in all_:
        clock = FakeTime()
        broker = Broker(server, f"t{uuid4().hex[:12]}", now=clock)
        wanted = set(missing(law))
        try:
            values = {"broker": broker, "clock": clock, **made(broker, clock, wanted)}
            law(**{name: value for name, value in values.items() if name in wanted})
        finally:
            delete_keys(server, broker.prefix)
