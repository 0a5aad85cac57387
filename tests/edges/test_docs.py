"""What the documentation says is so: its examples run, its tables are those of the code."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import django_taskq
from django_taskq import conf, options
from django_taskq.broker import embedded, keeper
from django_taskq.broker.keys import GLOBAL_KEYS, QUEUE_KEYS
from django_taskq.broker.sweep import CHECKS
from django_taskq.job import TRANSITIONS
from django_taskq.management.commands import _worker
from django_taskq.result import STATUS
from django_taskq.task import DJANGO_OPTIONS
from tests.edges.examples import PAGES, ROOT, Project, blocks

PACKAGE = Path(django_taskq.__file__).parent
ROW = re.compile(r"^\| `([^`|]+)` \| (?:`([^`|]*)`)?", re.MULTILINE)
WITH_EXAMPLES = [page for page in PAGES if any(path for path, _ in blocks(page))]


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


def table(text: str, heading: str) -> dict[str, str]:
    """First column -> second column of the first table below a heading."""
    below = text.split(f"\n{heading}\n", 1)[1]
    rows = re.search(r"^\|.*\n\|-.*\n((?:\|.*\n)+)", below, re.MULTILINE)
    assert rows, heading
    return dict(ROW.findall(rows[1]))


def name_of(path: Path) -> str:
    return path.stem


# -- Examples ---------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder for a project; servers that it started are stopped."""
    yield tmp_path
    for lock in tmp_path.glob(f"var/*/{keeper.KEEPER_LOCK}"):
        embedded.stop(lock.parent)


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name_of)
def test_the_examples_of_a_page_do_what_it_says(
    page: Path, home: Path, url: str, prefix: str
) -> None:
    project = Project(page, home, url, prefix)

    if project.has_program:
        with project.worker():
            output = project.run("program.py")
    else:
        output = project.run("program.py")
    if project.has_tests:
        project.run("manage.py", "test", "--settings=settings_test")

    if page.name == "README.md":
        assert output.splitlines()[-1] == "ada@example.com"
        [mail] = (home / "mail").iterdir()
        assert "Subject: Order 42" in mail.read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_python_can_be_read(page: Path) -> None:
    for _, code in blocks(page):
        ast.parse(code)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_link_to_a_file_leads_to_one(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).is_file(), target


# -- Tables -----------------------------------------------------------------------------------


def test_every_option_of_a_task_is_there_with_its_default() -> None:
    shown = table(page("tasks"), "## Options")

    assert tuple(shown) == (
        "queue_name",
        "priority",
        "backend",
        "takes_context",
        *options.TaskOptions.NAMES,
    )
    assert set(DJANGO_OPTIONS) <= set(shown)
    defaults = options.TaskOptions()
    for name in options.TaskOptions.NAMES:
        assert read(shown[name]) == getattr(defaults, name), name


def test_every_setting_is_there_with_its_default() -> None:
    text = page("settings")
    options = conf.Options()

    shown = table(text, "## OPTIONS")
    known = {field.name.upper() for field in fields(options)} - {"ALIAS", "QUEUES", "PROBLEMS"}
    sections = {"TASK_DEFAULTS", "WORKER", "KEEP"}
    assert set(shown) == known
    for name in known - sections:
        assert read(shown[name]) == getattr(options, name.lower()), name
    for name, section in (("WORKER", options.worker), ("KEEP", options.keep)):
        shown = table(text, f"### {name}")
        assert {key: read(value) for key, value in shown.items()} == {
            field.name: getattr(section, field.name) for field in fields(section)
        }


def read(shown: str) -> Any:
    """A default as it stands in a table."""
    return (Exception,) if shown == "(Exception,)" else ast.literal_eval(shown)


def test_every_option_of_runworker_is_there() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    _worker.add_arguments(parser)
    known = {action.option_strings[0] for action in parser._actions}

    shown = table(page("worker"), "## Options")

    assert {option.split()[0] for option in shown} == known


def test_every_state_is_there_with_its_status() -> None:
    shown = table(page("results"), "## States")

    assert shown == {str(state): str(status.value) for state, status in STATUS.items()}


def test_the_diagram_has_the_arrows_of_the_code() -> None:
    arrows = re.findall(r"^ +(\S+) --> (\S+) : (.+)$", page("state_machine"), re.MULTILINE)

    drawn = {
        (script, "new" if a == "[*]" else a, "gone" if b == "[*]" else b)
        for a, b, scripts in arrows
        for script in scripts.split(", ")
    }
    assert drawn == {(script, *edge) for script, edges in TRANSITIONS.items() for edge in edges}


def test_every_script_with_an_arrow_is_explained() -> None:
    rows = re.findall(r"^\| (\w+) \|", page("state_machine"), re.MULTILINE)

    assert set(rows) - {"script"} == set(TRANSITIONS)


@pytest.mark.parametrize(
    ("heading", "keys"), [("## Of a queue", QUEUE_KEYS), ("## Of all queues", GLOBAL_KEYS)]
)
def test_every_key_is_there_with_its_type(heading: str, keys: dict[str, str]) -> None:
    text = page("redis_keys").split(f"\n{heading}\n", 1)[1].split("\n## ")[0]

    assert dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE)) == keys


def test_every_file_that_is_named_in_the_internals_exists() -> None:
    for name in re.findall(r"`([\w/]+(?:\.py|\.lua|/))`", page("internals")):
        if name != "django_taskq/":
            assert (PACKAGE / name).exists(), name


# -- Operations -------------------------------------------------------------------------------


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page("reliability"))

    assert len(named) > 20
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text("utf-8"), f"{path}::{name}"


def test_every_finding_of_the_sweep_is_explained() -> None:
    assert set(table(page("operations"), "## The sweep")) == set(CHECKS)


def test_every_finding_of_the_doctor_is_explained() -> None:
    tree = ast.parse((PACKAGE / "doctor.py").read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [call.args[2] for call in calls if ast.unparse(call.func) == "Finding"]
    said = {name.value for name in names if isinstance(name, ast.Constant)}  # the sweep's: above

    assert set(table(page("operations"), "## The doctor")) == said - {"sound", "paused"}
