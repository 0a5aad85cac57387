"""The examples of a Markdown page as a project that can be run.

A fenced block of Python below ``<!-- example: PATH -->`` is a file of it; blocks of one path are
joined. ``anywhere`` is a program that runs while a worker does. In it, ``EXPRESSION  # -> REPR``
and ``STATEMENT  # raises ERROR: WORDS`` are checked.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import django

from django_taskq import compat
from testproject.processes import die_with_parent
from tests.conftest import eventually

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TIMEOUT = 60.0  # seconds that a program may take, and a worker until it is ready
PATIENCE = 50.0  # seconds that a program waits where its page says 10
BLOCK = re.compile(
    r"(?:<!-- example: (\S+) -->\n)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
SHOWN = re.compile(r"^( *)(.+?)  # -> (.+)$", re.MULTILINE)
PATIENT = re.compile(r"(timeout=|monotonic\(\) \+ )10\b")
RAISED = re.compile(r"^( *)(.+?)  # raises (\w+)(?:: (.+))?$", re.MULTILINE)

SETTINGS_BEFORE = """
import django

SECRET_KEY = "for examples"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
INSTALLED_APPS = ["shop"] if django.VERSION >= (6, 0) else ["shop", "django_tasks"]
MAIL = "django.core.mail.backends.filebased.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": MAIL, "OPTIONS": {"file_path": "mail"}}}
else:
    EMAIL_BACKEND, EMAIL_FILE_PATH = MAIL, "mail"
LOGGING = {"version": 1, "handlers": {}, "loggers": {}}
"""

SETTINGS_AFTER = """
if "django_taskq" not in INSTALLED_APPS:
    INSTALLED_APPS += ["django_taskq"]
if "TASKS" not in globals():
    TASKS = {"default": {
        "BACKEND": "django_taskq.backends.RedisBackend",
        "QUEUES": ["critical", "default"],
        "OPTIONS": {"URL": "redis://localhost:6379/0"},
    }}
TASKS["default"].setdefault("OPTIONS", {})["PREFIX"] = "PREFIX"
LOGGING["handlers"]["worker"] = {"class": "logging.StreamHandler"}
LOGGING["loggers"]["django_taskq.worker"] = {"handlers": ["worker"], "level": "INFO"}
"""

MODELS = """
from django.db import models


class Order(models.Model):
    email = models.EmailField()
"""

PROGRAM = """
import os
from contextlib import contextmanager

import django
from django.core.management import call_command

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()
call_command("check", fail_level="WARNING")
call_command("migrate", run_syncdb=True, verbosity=0)


def expect(value, shown):
    assert repr(value) == shown, f"{value!r}, not {shown}"


@contextmanager
def raises(name, words):
    try:
        yield
    except Exception as error:
        names = [cls.__name__ for cls in type(error).__mro__]
        assert name in names and words in str(error), f"{names[0]}: {error}"
    else:
        raise AssertionError(f"no {name} was raised")


"""

MANAGE = """
import sys

from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The Python blocks of a page: where each belongs ("" for nowhere), and its code."""
    yield from BLOCK.findall(page.read_text("utf-8"))


def checked(code: str) -> str:
    """The code with its remarks made into checks, and with patience: a page's is a reader's."""
    code = PATIENT.sub(rf"\g<1>{PATIENCE:g}", code)
    code = SHOWN.sub(lambda m: f"{m[1]}expect({m[2]}, {m[3]!r})", code)
    return RAISED.sub(
        lambda m: f"{m[1]}with raises({error_name(m[3])!r}, {m[4] or ''!r}): {m[2]}", code
    )


def error_name(name: str) -> str:
    """What the installed Django or backport calls an error; some versions add "Error"."""
    return str(getattr(getattr(compat, name, None), "__name__", name))


class Project:
    """A page's project in ``folder``. ``url`` and ``prefix``: where its jobs are."""

    def __init__(self, page: Path, folder: Path, url: str, prefix: str) -> None:
        self.folder = folder
        self.url = url
        files: dict[str, str] = {}
        for path, code in blocks(page):
            files[path] = files.get(path, "") + code
        self.has_tests = "shop/tests.py" in files
        self.has_program = "anywhere" in files
        program = PROGRAM + checked(files.pop("anywhere", ""))
        files.pop("", None)
        settings = files.get("settings.py", "")
        after = SETTINGS_AFTER.replace("PREFIX" + '"\n', prefix + '"\n')
        files |= {
            "settings.py": f"{SETTINGS_BEFORE}{settings}{after}",
            "manage.py": MANAGE,
            "program.py": program,
            "shop/__init__.py": "",
            "shop/models.py": MODELS,
        }
        for path, code in files.items():
            self._write(path, code)

    def _write(self, path: str, code: str) -> None:
        code = code.replace("redis://localhost:6379/0", self.url)
        if os.environ.get("REDIS_URL"):  # there may be no embedded server here
            code = re.sub(r"embedded://[^\"]+", os.environ["REDIS_URL"], code)
        if django.VERSION < (6, 0):
            code = code.replace("from django.tasks import", "from django_tasks import")
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, "utf-8")

    def _start(self, *command: str, output: int | IO[str]) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(self.folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "settings"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent(),
        )

    def run(self, *command: str) -> str:
        """What a Python command prints. Fails with it when its exit code is not 0."""
        process = self._start(*command, output=subprocess.PIPE)
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
        assert process.returncode == 0, output
        return output

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A worker is at work inside. What it said is printed."""
        self.run("manage.py", "migrate", "--run-syncdb", "--verbosity=0")
        log = self.folder / "worker.log"
        with log.open("w") as output:
            process = self._start("manage.py", "runworker", output=output)

        def is_ready() -> bool:
            assert process.poll() is None, "the worker ended"
            return "worker ready" in log.read_text("utf-8")

        try:
            eventually(is_ready, TIMEOUT, "the worker was never ready")
            yield
        finally:
            process.terminate()
            process.wait(30)
            print(f"--- worker:\n{log.read_text('utf-8')}")
