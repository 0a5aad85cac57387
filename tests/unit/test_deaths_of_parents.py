"""A process whose parent died before it could ask to die with it ends all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks what Linux tells")

PROGRAM = """
import multiprocessing, os, sys, time
from django_taskq.deaths import die_with_parent

parent, dies = os.getpid(), sys.argv[1] == "dies"

def work():
    while dies and os.getppid() == parent:
        time.sleep(0.01)
    die_with_parent()
    print("works", flush=True)

child = multiprocessing.get_context("fork").Process(target=work)
child.start()
if dies:
    os._exit(0)
child.join()
"""


@pytest.mark.parametrize(("how", "said"), [("dies", ""), ("lives", "works\n")])
def test_a_child_works_only_if_its_parent_lives(how: str, said: str) -> None:
    """What the child inherited is closed when it has ended."""
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == said, done.stderr
