"""The processes beside the supervisor: how they come to their end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from django_taskq.services.beside import run_beside


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_said_is_written_before_the_process_ends(tmp_path: Path, fails: bool) -> None:
    said = tmp_path / "said"

    def body(alias: str, make: Any, line: Any) -> None:
        sys.stdout = said.open("w")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        print(f"{alias} goes on", end="")
        assert not fails

    ours, theirs = socket.socketpair()
    args = ("default", None, theirs, body, "test")
    process = multiprocessing.get_context("fork").Process(target=run_beside, args=args)
    with ours, theirs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
            process.start()
        process.join(20)
    assert process.exitcode == int(fails)
    assert said.read_text() == "default goes on"
