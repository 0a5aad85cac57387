"""From a name to a task, and from nothing else to anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from django_taskq import Task, registry, task
from django_taskq import task as task_decorator
from django_taskq.backends import RedisBackend
from django_taskq.broker.broker import Draft
from django_taskq.compat import Task as DjangoTask
from tests.engine import tasks
from tests.engine.support import configured
from tests.engine.tasks import add, renamed, undeclared


@pytest.fixture(autouse=True)
def _only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))


def test_a_task_is_found_by_its_name_and_its_aliases() -> None:
    assert registry.find("tests.engine.tasks.add") is add
    assert registry.find("tests.engine.tasks.renamed") is renamed
    assert registry.find("tests.engine.tasks.renamed_long_ago") is renamed
    assert registry.find("tests.engine.tasks.undeclared") is None
    assert "tests.engine.tasks.renamed_long_ago" in registry.names()


def test_a_variation_does_not_take_the_tasks_place() -> None:
    add.using(timeout=1)
    task(timeout=2)(add.func)
    assert registry.find(add.module_path) is add


def test_a_function_that_was_loaded_anew_does() -> None:
    first = task(undeclared)

    def reloaded(a: int) -> int:
        return a

    reloaded.__module__, reloaded.__qualname__ = undeclared.__module__, undeclared.__qualname__
    second = task_decorator(reloaded)
    assert registry.find(first.module_path) is second


@pytest.fixture
def stored(backend: RedisBackend) -> Iterator[Any]:
    backend.broker.number("default")

    def store(name: str) -> str:
        raw = f'["{name}",1]'.encode()
        backend.broker.enqueue("default", [Draft("x.1", raw)])
        return "x.1"

    return store


@pytest.mark.parametrize("name", ["this.s", "antigravity.webbrowser", "os.system", "nodots"])
def test_reading_a_job_never_imports_what_it_names(
    name: str, stored: Any, backend: RedisBackend
) -> None:
    backend.get_result(stored("gone.first"))  # imports the apps' task modules, once
    before = set(sys.modules)
    backend.server.command("HSET", backend.broker.key("default", "jobs"), "x.1", f'["{name}",1]')
    seen = backend.get_result("x.1")
    assert set(sys.modules) == before
    with pytest.raises(Exception, match="not known here"):
        seen.task.call()


def test_reading_unknown_tasks_does_not_fill_the_memory(stored: Any, backend: RedisBackend) -> None:
    from django_taskq.task import signature_of

    stored("gone.task")
    for _ in range(20):
        backend.get_result("x.1")
    assert signature_of.cache_info().maxsize


def test_discovery_takes_in_tasks_that_django_declared(
    url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django_taskq.task import discover

    core = DjangoTask.__module__.rpartition(".")[0]
    entries = {
        "core": {"BACKEND": f"{core}.backends.dummy.DummyBackend"},
        "default": configured(url, prefix),
    }
    with override_settings(TASKS=entries):
        django_task = tasks.django_task(backend="core")(undeclared)
        monkeypatch.setattr(tasks, "of_django", django_task, raising=False)
        assert registry.find(django_task.module_path) is None
        discover()
        found = registry.find(django_task.module_path)
    assert isinstance(found, Task)
    assert found.func is undeclared
