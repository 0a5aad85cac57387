"""What the package's own code may not contain: looked for in every file, not remembered."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import django_taskq
from django_taskq.broker.scripts import LIBRARIES, load

ROOT = Path(django_taskq.__file__).parent
PYTHON = sorted(ROOT.rglob("*.py"))
LUA = sorted(ROOT.rglob("*.lua"))
SCRIPTS = [path for path in LUA if path.stem not in LIBRARIES]

CODE = {"eval", "exec", "compile", "__import__", "globals", "breakpoint"}
MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "code", "codeop"}
SHELL = {"system", "popen", "getoutput", "getstatusoutput"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_no_text_becomes_code_or_a_command(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                assert name not in CODE
            case ast.Call(func=ast.Attribute(attr=attr), keywords=keywords):
                assert attr not in SHELL | {"import_module", "import_string", "loads_pickle"}
                assert not any(
                    k.arg == "shell" and getattr(k.value, "value", None) for k in keywords
                )
            case ast.Import(names=names):
                assert not {alias.name.split(".")[0] for alias in names} & MODULES
            case ast.ImportFrom(module=str(module), level=0):
                assert module.split(".")[0] not in MODULES


def test_these_rules_see_what_they_forbid(tmp_path: Path) -> None:
    bad = ROOT / "bad.py"
    for line in ("eval('1')", "os.system('x')", "import pickle", "run('x', shell=True)"):
        tree = ast.parse(line)
        assert tree.body
        path = tmp_path / bad.name
        path.write_text(line if "run" not in line else f"subprocess.{line}")
        with pytest.raises(AssertionError):
            test_no_text_becomes_code_or_a_command(path)


# --- Lua ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_script_is_its_file_and_nothing_that_was_put_into_it(path: Path) -> None:
    """Each line that is sent stands in the file or a library, but the one that names keys."""
    files = [path, *(path.with_name(f"{name}.lua") for name in LIBRARIES)]
    written = {line for file in files for line in file.read_text("utf-8").split("\n")}
    own = [line for line in load(path.stem).source.split("\n") if line not in written]

    (keys,) = own
    names, _, places = keys.partition(" = ")
    assert re.fullmatch(r"local [a-z_, ]+", names)
    assert re.fullmatch(r"(KEYS\[\d+\](, )?)+", places)


def test_scripts_are_made_in_one_place_and_of_nothing_formatted() -> None:
    said = {
        name_of(path)
        for path in PYTHON
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in ("EVAL", "EVALSHA", "SCRIPT")
    }
    assert said <= {
        "broker/calls.py",
        "broker/connection.py",
        "broker/cluster.py",
        "broker/rights.py",
    }
    tree = ast.parse((ROOT / "broker/calls.py").read_text("utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]


@pytest.mark.parametrize("path", LUA, ids=name_of)
def test_no_script_builds_code_or_the_name_of_a_command(path: Path) -> None:
    text = re.sub(r"--.*", "", path.read_text("utf-8"))
    assert not re.search(
        r"\b(loadstring|load|dofile|loadfile|setfenv|getfenv|cjson|cmsgpack)\b", text
    )
    variable = "command" if path.name == "common.lua" else ""  # of send(), looked at below
    for first in re.findall(r"redis\.p?call\(\s*([^,)]+)", text):
        assert re.fullmatch(r"'[A-Z]+'", first.strip()) or first.strip() == variable
    for first in re.findall(r"(?<!function )\bsend\(\s*([^,)]+)", text):
        assert re.fullmatch(r"'[A-Z]+'", first.strip())
