"""``--reload``: new code runs as soon as it is saved, if it can be loaded at all."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from django.utils.autoreload import iter_all_python_module_files

from ..service import Service

logger = logging.getLogger("django_taskq.worker")

INTERVAL = 1.0  # seconds


class Reloader(Service):
    """Watches the project's modules. A change is checked in a process of its own first."""

    def __init__(self, reload: Callable[[], None]) -> None:
        super().__init__()
        self._reload = reload
        self._seen: dict[Path, float] = {}
        self._check: subprocess.Popen[bytes] | None = None
        self._changed()  # remembers how things are before anybody is told that we watch

    def tick(self) -> float:
        if self._check is not None:
            return self._finish_check(self._check)
        changed = self._changed()
        if changed:
            logger.info("%s changed, checking the project", changed)
            self._check = subprocess.Popen(check_command(sys.orig_argv))
            return 0.1
        return INTERVAL

    def _finish_check(self, check: subprocess.Popen[bytes]) -> float:
        if check.poll() is None:
            return 0.1
        self._check = None
        if check.returncode == 0:
            self._reload()
        else:
            logger.error("the project does not load: the old code goes on until it is mended")
        return INTERVAL

    def _changed(self) -> Path | None:
        """A file that is newer than it was, and all of them remembered."""
        changed = None
        for path in iter_all_python_module_files():
            try:
                modified = path.stat().st_mtime
            except OSError:
                continue
            if self._seen.setdefault(path, modified) != modified:
                self._seen[path] = modified
                changed = path
        return changed


def check_command(argv: list[str]) -> list[str]:
    """``manage.py check``, started the way this worker was."""
    verb = next(at for at, word in enumerate(argv) if word in ("runworker", "taskq"))
    return [sys.executable, *argv[1:verb], "check"]
