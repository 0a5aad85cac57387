"""Imports point down: a module imports its own layer or a lower one (DESIGN.md, section 8)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_taskq

ROOT = Path(django_taskq.__file__).parent
LAYERS = [
    "exceptions clock compat job signals",
    """address asks clock_changes conf codec counts cron frames job_keys keyring limits options
     report retry schedule spelling unique""",
    "broker",
    """context task result registry reader recipe duplicates producer client execution hygiene
     queries pace
     shares slot table pool wire troubles service errands watcher worker child_process judge memory
     cpu deaths
     isolation isolated preload paths orders children court outcomes hands departure plan sealing
     held supervisor services doctor periodic firing line timetable server_clock showing finding
     grouping operations copying bulk reporting stacks""",
    """backends apps checks management middleware outbox schedules testing tasks models migrations
     admin templatetags mirror""",
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names.split()}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.rglob("*.py")
    if path != ROOT / "__init__.py"  # the public names: it imports what it likes
)
FROM_SETTINGS = {"context/carrier.py": {"import_module"}}  # what a name in the settings loads
BY_NAME = {"eval", "exec", "__import__", "import_module", "import_string"}


def part_of(file: str) -> str:
    """The module or folder right under the package, as LAYERS has it."""
    return file.split("/")[0].removesuffix(".py")


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node, in functions too, without what only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield other
                yield from nodes(other)
        else:
            yield node
            yield from nodes(node)


def parse(file: str) -> list[ast.AST]:
    return list(nodes(ast.parse((ROOT / file).read_text())))


def imports(file: str) -> Iterator[str]:
    """The absolute dotted name of everything that a file imports."""
    package = ("django_taskq", *Path(file).parent.parts)
    for node in parse(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def test_every_module_has_its_layer() -> None:
    assert {part_of(file) for file in FILES} - set(LAYER) == set()


@pytest.mark.parametrize("file", FILES)
def test_a_module_imports_its_own_layer_or_a_lower_one(file: str) -> None:
    own = LAYER.get(part_of(file), len(LAYERS))
    ours = [name for name in imports(file) if name.startswith("django_taskq.")]

    upwards = [name for name in ours if LAYER.get(name.split(".")[1], -1) > own]

    assert upwards == [], f"{file} is of layer {own}"


@pytest.mark.parametrize("file", FILES)
def test_only_the_broker_knows_redis(file: str) -> None:
    clients = {name.split(".")[0] for name in imports(file)} & {"redis", "hiredis", "valkey"}

    assert not clients or part_of(file) == "broker"


@pytest.mark.parametrize("file", FILES)
def test_the_package_needs_nothing_that_is_made_for_tests(file: str) -> None:
    made = [name for name in imports(file) if f"{name}.".startswith(("django.test.", "tests."))]

    assert made == []


@pytest.mark.parametrize("file", [*FILES, "__init__.py"])
def test_a_name_or_a_text_never_becomes_code(file: str) -> None:
    """No pickle, no eval, no import of what a string says."""
    unpickling = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    assert {name.split(".")[0] for name in imports(file)} & unpickling == set()
    said = {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in parse(file)
        if isinstance(node, ast.Name | ast.Attribute)
    }

    forbidden = BY_NAME - FROM_SETTINGS.get(file, set())
    assert {name.split(".")[-1] for name in imports(file)} & forbidden == set()
    assert said & forbidden == set()


def test_these_rules_see_what_they_forbid() -> None:
    """The checks above look at something: the scanners find what is known to be there."""
    assert "redis" in set(imports("broker/connection.py"))
    assert "django_taskq.task.Task" in set(imports("execution.py"))
    assert "django_taskq.broker.broker.Broker" in set(imports("services/heartbeat.py"))
    assert "django_taskq.task.Task" not in set(imports("registry.py"))  # for the type checker
