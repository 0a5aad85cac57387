"""Where the code of a child is at this moment: the frames of its threads and coroutines.

Never a local variable: those are what jobs carry.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator

from .slot import Slot

MOST_TASKS = 100
FILE = re.compile(r'File "([^"]+)"')


def written(slots: Iterable[Slot], loop: asyncio.AbstractEventLoop) -> str:
    """All of it, what jobs do at the front."""
    return shortened("\n".join(sections(slots, loop)))


def shortened(frames: str) -> str:
    """Frames with their files named as imports see them."""
    return FILE.sub(lambda match: f'File "{short(match[1])}"', frames)


def short(file: str) -> str:
    """A file without the folder that its package was found in."""
    found = [path for path in sys.path if path and file.startswith(path.rstrip("/") + "/")]
    return file[len(max(found, key=len).rstrip("/")) + 1 :] if found else file


def sections(slots: Iterable[Slot], loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    for slot in slots:
        attempt = slot.attempt
        if attempt is not None:
            yield f"Job {attempt.grant.id}:\n{slot.stack()}"
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        frames = "".join(traceback.format_stack(frame))
        yield f"Thread {names.get(ident, ident)}:\n{frames}"
    for task in list(asyncio.all_tasks(loop))[:MOST_TASKS]:
        frames = "".join(line for f in task.get_stack() for line in traceback.format_stack(f, 1))
        yield f"Coroutine {task.get_name()}:\n{frames}"
