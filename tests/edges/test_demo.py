"""``make demo`` as a person runs it: it says where everything is, works, and ends with Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import testproject
from django_taskq.broker import embedded
from tests.conftest import eventually
from tests.topology.nodes import free_port

ROOT = Path(testproject.__file__).parents[1]


class Demo:
    """A demo in a folder of its own, and what it said."""

    def __init__(self, home: Path) -> None:
        self.log = home / "log"
        own = {"TASKQ_VAR": str(home), "REDIS_URL": "", "DATABASE_URL": "", "TASKQ_PREFIX": "demo"}
        env = {name: value for name, value in {**os.environ, **own}.items() if value}
        env.pop("TASKQ_URL", None)
        env.pop("REDIS_URL", None)
        self.port = free_port()
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "testproject.demo", "--port", str(self.port)],
                cwd=ROOT,
                env=env,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def says(self, pattern: str) -> str:
        """Waits until the output matches."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.log.read_text("utf-8", "replace"))
            assert match or self.process.poll() is None, self.log.read_text()
            return match

        return str(eventually(found, 60)[0])


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    one = Demo(tmp_path)
    yield one
    if one.process.poll() is None:
        os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()
    embedded.stop(tmp_path / "valkey")


def test_the_demo_tells_where_everything_is_and_ends_with_ctrl_c(demo: Demo) -> None:
    site = demo.says(r"Site +http://127\.0\.0\.1:\d+/").split()[-1]
    demo.says(r"Admin +http.*/admin/")
    demo.says(r"User admin +password \S+")
    demo.says("worker ready")
    with urllib.request.urlopen(site, timeout=10) as page:
        assert page.status == 200

    demo.process.send_signal(signal.SIGINT)

    assert demo.process.wait(30) == 0
    assert "Stopped." in demo.log.read_text()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(site, timeout=5)
