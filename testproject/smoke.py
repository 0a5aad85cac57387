"""``make smoke``: the demo without a person, in a directory of its own that is removed again.

Signs up over HTTP, waits for the mail, reads the result back, stops everything. Exit code 0, or 1
with the step that did not happen and the ends of the logs.
"""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import secrets
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .processes import DIRECT, Interrupted, Site, Trouble, prepare, signals, stop_embedded

DEADLINE = 180.0  # seconds for everything up to the result
EMAIL = "ada@example.com"
FORM = {"first_name": "Ada Lovelace", "email": EMAIL, "password": "a difference engine No. 2"}
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Visitor:
    """A browser that keeps its cookies."""

    def __init__(self, site: Site) -> None:
        self.site = site
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(DIRECT, cookies)

    def open(
        self, url: str, form: dict[str, str] | None = None, accept: str = "text/html"
    ) -> tuple[str, str]:
        """The address one ends at, and the page. Raises Trouble for an error page."""
        data = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(url, data, {"Accept": accept, "Referer": self.site.url})
        try:
            with self._opener.open(request, timeout=60) as answer:
                return answer.url, answer.read().decode()
        except urllib.error.HTTPError as error:
            raise Trouble(f"{url} answers {error.code} {error.reason}") from error
        except OSError as error:
            raise Trouble(f"{url} does not answer: {error}") from error

    def sign_up(self) -> str:
        """Fill in the form; the address of the job's page."""
        _, page = self.open(self.site.url)
        token = TOKEN.search(page)
        if token is None:
            raise Trouble("the sign-up page has no form with a CSRF token")
        url, page = self.open(self.site.url, {**FORM, "csrfmiddlewaretoken": token[1]})
        if "/jobs/" not in url:
            raise Trouble(f"the sign-up did not lead to a job's page but to {url}:\n{page}")
        return url

    def job(self, url: str) -> dict[str, Any]:
        """The job as JSON."""
        found: dict[str, Any] = json.loads(self.open(url, accept="application/json")[1])
        return found


class Smoke:
    """One run: named steps, one deadline over all of them."""

    def __init__(self, var: Path, mails: Path) -> None:
        self.mails = mails
        self.began = time.monotonic()
        self.site = Site(logs=var)
        self.step = "starting the processes"

    def run(self) -> None:
        """All steps up to the result. Raises Trouble."""
        self.begin("the web server and the worker start")
        self.site.start()
        self.begin("a visitor signs up")
        visitor = Visitor(self.site)
        job_url = visitor.sign_up()
        self.begin("the welcome mail is written")
        self.wait(self._mail_is_there)
        self.begin("the result is read back")
        self.wait(lambda: self._has_result(visitor.job(job_url)))

    def begin(self, step: str) -> None:
        """Name the step that comes now."""
        self.step = step
        print(f"smoke: {time.monotonic() - self.began:5.1f} s  {step}", flush=True)

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait for this step's end, as long as the deadline allows."""
        self.site.wait_for(self.step, condition, self.began + DEADLINE - time.monotonic())

    def stop(self) -> None:
        """Stop the processes. Raises Trouble when one had to be killed or ended badly."""
        self.begin("everything stops")
        self.site.stop()
        worker = self.site.children[-1]
        if worker.exit_code:
            raise Trouble(f"the {worker.name} ended with exit code {worker.exit_code}")

    def _mail_is_there(self) -> bool:
        mails = [path.read_text("utf-8") for path in self.mails.glob("*.log")]
        return any(f"To: {EMAIL}" in mail and "Ada Lovelace" in mail for mail in mails)

    def _has_result(self, job: dict[str, Any]) -> bool:
        if job["state"] in ("dead", "cancelled") or job.get("value", EMAIL) != EMAIL:
            raise Trouble(f"the job ended otherwise: {job}")
        return bool(job["state"] == "succeeded")


def configure(var: Path) -> None:
    """Settings for this run alone: nothing of the demo's, nor of a .env, but the server's URL."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "testproject.settings",
        "DATABASE_URL": f"sqlite:///{quote(str(var / 'db.sqlite3'))}",
        "DEBUG": "yes",
        "TASKQ_BACKEND": "django_taskq.backends.RedisBackend",
        "TASKQ_PREFIX": f"taskq-smoke-{secrets.token_hex(4)}",
        "TASKQ_URL": f"embedded://{quote(str(var / 'valkey'))}",
        "TASKQ_VAR": str(var),
    }


def main() -> int:
    """Run it; the exit code."""
    with signals(), tempfile.TemporaryDirectory(prefix="taskq-smoke-") as name:
        var = Path(name).resolve()
        configure(var)
        try:
            return smoke(var)
        except Interrupted as interrupted:
            print(f"smoke: stopped by {interrupted}", flush=True)
            return 1


def smoke(var: Path) -> int:
    """Everything between making and removing the directory."""
    prepare()
    run = Smoke(var, var / "mail")
    try:
        try:
            run.run()
        except BaseException:
            with suppress(Trouble):  # what went wrong first is what matters
                run.site.stop()
            raise
        run.stop()
    except Trouble as trouble:
        print(f"smoke: FAILED at: {run.step}\n{trouble}\n{run.site.tails()}", flush=True)
        return 1
    finally:
        tidy(var)
    print(f"smoke: passed in {time.monotonic() - run.began:.1f} s", flush=True)
    return 0


def tidy(var: Path) -> None:
    """Leave nothing on the server: stop it, or remove this run's keys from the one of REDIS_URL."""
    from django.conf import settings

    options = settings.TASKS["default"]["OPTIONS"]
    if options["URL"].startswith("embedded:"):
        stop_embedded(var)
        return
    import redis

    try:
        with redis.Redis.from_url(options["URL"]) as client:
            for key in client.scan_iter(f"{options['PREFIX']}:*", count=1000):
                client.unlink(key)
    except redis.RedisError as error:
        print(f"smoke: keys that begin with {options['PREFIX']}: may be left: {error}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
