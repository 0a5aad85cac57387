"""The scripts: one file each under ``lua/``, with their keys and edges in the second line.

A script's header is read here, so the keys it declares, the locals it uses and the keys it is
sent are one list.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

SHEBANGS = ("#!lua", "#!lua flags=allow-oom")
# Functions for several scripts, those that use others behind them.
LIBRARIES = ("common", "asks", "locks", "gating", "turns", "calendar", "intake", "counts")
# What a paragraph of them defines.
DEFINED = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)
COMMENT = re.compile(r"--[^\n]*")
WORD = re.compile(r"\w+")
# Where a script wants them; without this line they stand before its body.
COMMON = "-- common.lua\n"
HEADER = re.compile(r"-- (?P<name>\w+) \| keys: (?P<keys>[\w ]+) \| edges: (?P<edges>.+)")


@dataclass(frozen=True)
class Script:
    """One atomic step in Redis, as it is sent."""

    name: str
    keys: tuple[str, ...]  # names in keys.py, in KEYS' order
    edges: frozenset[tuple[str, str]]
    source: str
    sha: str


def _read(name: str) -> str:
    return files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8")


@cache
def load(name: str) -> Script:
    """The script of that name; raises ValueError when its first two lines are not a header."""
    shebang, header, body = _read(name).split("\n", 2)
    match = HEADER.fullmatch(header)
    if shebang not in SHEBANGS or not match or match["name"] != name:
        raise ValueError(f"lua/{name}.lua: the first two lines are not a script's header")
    keys = tuple(match["keys"].split())
    edges = () if match["edges"] == "none" else match["edges"].split()
    places = ", ".join(f"KEYS[{at}]" for at in range(1, len(keys) + 1))
    before, mark, after = body.partition(COMMON)
    parts = [before, _common(after), after] if mark else [_common(body), body]
    source = "\n".join([shebang, f"local {', '.join(keys)} = {places}", *parts])
    return Script(
        name=name,
        keys=keys,
        edges=frozenset((edge.split("->")[0], edge.split("->")[1]) for edge in edges),
        source=source,
        sha=hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(),
    )


@cache
def _paragraphs() -> list[tuple[str, set[str], set[str]]]:
    """Those of the libraries, in order: text, the names it defines, the words it uses."""
    texts = [text for name in LIBRARIES for text in _read(name).split("\n\n")]
    return [(text, {*DEFINED.findall(text)}, _words(text)) for text in texts]


def _words(source: str) -> set[str]:
    return {*WORD.findall(COMMENT.sub("", source))}


def _common(body: str) -> str:
    """The paragraphs of the libraries that a script uses, directly or through another.

    Every call of a script makes its functions anew, which took a fifth of an enqueue's time.
    """
    kept: list[str] = []
    used = _words(body)
    for text, defined, words in reversed(_paragraphs()):
        if defined & used:
            kept.insert(0, text)
            used |= words
    return "\n\n".join(kept)


def names() -> list[str]:
    """Every script there is."""
    folder = files(__package__).joinpath("lua")
    return sorted(
        entry.name.removesuffix(".lua")
        for entry in folder.iterdir()
        if entry.name.endswith(".lua") and entry.name.removesuffix(".lua") not in LIBRARIES
    )
