"""A traceback's text taken apart: its frames, which of them are the project's, and its last words.

Pure. Text that is no traceback has no frames and is shown as it is.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$')
START = "Traceback (most recent call last):"
LIBRARIES = re.compile(r"/(site|dist)-packages/|/lib(64)?/python3\.\d+/|^<")
_OURS = f"{Path(__file__).parent.as_posix()}/"
_STANDARD = tuple(
    f"{Path(path).as_posix()}/"
    for name in ("stdlib", "platstdlib")
    if (path := sysconfig.get_path(name))
)


class Frame(NamedTuple):
    """One frame. ``code``: the lines below it, as Python printed them."""

    file: str
    line: int
    function: str
    code: str
    is_app: bool

    @property
    def short_file(self) -> str:
        """The last parts of the path: enough to know it, on every machine the same."""
        return "/".join(self.file.replace("\\", "/").split("/")[-3:])


class Block(NamedTuple):
    """One exception of a chain: what stands before it, its frames, what it said."""

    before: str
    frames: list[Frame]
    said: str


def is_app(file: str) -> bool:
    """Whether a file is the project's: of no library, of Python, nor of ours."""
    path = file.replace("\\", "/")
    if LIBRARIES.search(path):
        return False
    return not path.startswith((_OURS, *_STANDARD))


def blocks(traceback: str) -> list[Block]:
    """The exceptions of a traceback, in the order in which they are printed."""
    found: list[Block] = []
    before: list[str] = []
    lines = traceback.splitlines()
    at = 0
    while at < len(lines):
        if lines[at].strip().endswith(START):
            at, frames, said = _block(lines, at + 1)
            found.append(Block("\n".join(before).strip(), frames, said))
            before = []
        else:
            before.append(lines[at])
            at += 1
    rest = "\n".join(before).strip()
    return [*found, Block("", [], rest)] if rest else found


def _block(lines: list[str], at: int) -> tuple[int, list[Frame], str]:
    """(where it ends, its frames, what it said)."""
    frames: list[Frame] = []
    while at < len(lines):
        head = FRAME.match(lines[at])
        if head is None:
            break
        end = at + 1
        while end < len(lines) and lines[end].startswith("    ") and not FRAME.match(lines[end]):
            end += 1
        code = dedent("\n".join(lines[at + 1 : end]))
        file = head["file"]
        frames.append(Frame(file, int(head["line"]), head["function"], code, is_app(file)))
        at = end
    said: list[str] = []
    while at < len(lines) and not lines[at].strip().endswith(START):
        if said and not lines[at].strip():  # what follows speaks of the next one
            break
        said.append(lines[at])
        at += 1
    return at, frames, "\n".join(said).strip()


@lru_cache(maxsize=256)  # failures of one cause often have one text, and pages look at a thousand
def culprit(traceback: str) -> Frame | None:
    """The frame to look at: the project's innermost one, else the innermost there is."""
    last: Frame | None = None
    for block in reversed(blocks(traceback)):
        for frame in reversed(block.frames):
            if frame.is_app:
                return frame
            last = last or frame
    return last


class Fingerprint(NamedTuple):
    """What failures have in common that are the same: exception, task, and the place.

    Without the line, so that a group outlives a deploy that only moves code.
    """

    exception: str
    task: str
    place: str  # "file: function"; "" where no traceback says it

    @property
    def digest(self) -> str:
        """A name for it of 32 characters that is the same everywhere."""
        return blake2b("\0".join(self).encode("utf-8", "replace"), digest_size=16).hexdigest()

    def __str__(self) -> str:
        """As logs name it."""
        return ", ".join(filter(None, self))


def fingerprint(exception: str, task: str, traceback: str) -> Fingerprint:
    """The group that a failure belongs to."""
    frame = culprit(traceback)
    return Fingerprint(exception, task, f"{frame.short_file}: {frame.function}" if frame else "")


class Part(NamedTuple):
    """Frames in a row that are shown alike: the project's open, a library's folded."""

    is_app: bool
    frames: list[Frame]


def folded(frames: list[Frame]) -> Iterator[Part]:
    """The frames in runs of the project's and of libraries'."""
    run: list[Frame] = []
    for frame in frames:
        if run and run[-1].is_app != frame.is_app:
            yield Part(run[-1].is_app, run)
            run = []
        run.append(frame)
    if run:
        yield Part(run[-1].is_app, run)
