"""A password in a URL, however it is written there, appears in nothing that anybody reads."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest
import redis
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_taskq.address import Address
from django_taskq.backends import RedisBackend
from django_taskq.broker import embedded
from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server
from django_taskq.compat import task_backends
from django_taskq.conf import Options
from django_taskq.exceptions import BrokerUnavailable, InvalidOption
from django_taskq.plan import Plan
from django_taskq.supervisor import Supervisor
from tests.engine.support import configured
from tests.security.tasks import double

SECRET = "hunter2"
URLS = [
    f"redis://:{SECRET}@127.0.0.1:1/0",
    f"redis://ada:{SECRET}@127.0.0.1:1/0",
    f"rediss://ada:{SECRET}@127.0.0.1:1/0",
    f"redis://127.0.0.1:1/0?password={SECRET}",
    f"redis://127.0.0.1:1?db=2&username=ada&password={SECRET}",
    f"redis://127.0.0.1:1/0?password={SECRET}%40x",
    f"redis://:{SECRET}%40%2F%3F@127.0.0.1:1/0",
    f"rediss://127.0.0.1:1/0?ssl_password={SECRET}",
    f"unix:///nowhere/r.sock?password={SECRET}",
    f"unix://ada:{SECRET}@/nowhere/r.sock?db=1",
    f"redis+sentinel://ada:{SECRET}@127.0.0.1:1,127.0.0.1:2/mymaster/0",
    f"redis+sentinel://127.0.0.1:1/mymaster/0?sentinel_password={SECRET}",
    f"redis+cluster://:{SECRET}@127.0.0.1:1,127.0.0.1:2",
]
BADLY_WRITTEN = [
    f"redis://:{SECRET}@with@at@host/0",
    f"redis://:{SECRET}?x@host/0",
    f"redis://:1234?{SECRET}@host/0",
    f"redis://:{SECRET}/x@host/0",
    f"redis://ada:1234/{SECRET}@host/0",
    f"redis://:{SECRET}#x@host/0",
    f"redis://host/0?password={SECRET}@x",
    f"redis://host/0?password=x@{SECRET}",
    f"redis://host/0?PASSWORD={SECRET}",
    f"redis://host/0#{SECRET}",
    f"redis://host/0?db={SECRET}",
    f"redis://host/{SECRET}",
    f"ftp://:{SECRET}@host",
    f"redis://:{SECRET}@host:port",
    f"{SECRET}@host",
    SECRET,
    f"redis:{SECRET}",
    f"embedded:///srv/valkey?password={SECRET}",
]


@pytest.mark.parametrize("url", URLS, ids=range(len(URLS)))
def test_an_address_is_a_url_without_its_secrets(url: str) -> None:
    address = str(Address.parse(url))
    assert SECRET not in address
    assert "ada" not in address
    assert "127.0.0.1:1" in address or "/nowhere/r.sock" in address


@pytest.mark.parametrize("url", BADLY_WRITTEN, ids=range(len(BADLY_WRITTEN)))
def test_a_url_that_is_badly_written_gives_nothing_away(url: str) -> None:
    try:
        said = str(Address.parse(url))
    except InvalidOption as error:
        said = "".join(traceback.format_exception(error, chain=True))
    assert SECRET not in said
    assert SECRET not in repr(Options.parse("default", {"OPTIONS": {"URL": url}}))


@pytest.mark.parametrize("url", URLS, ids=range(len(URLS)))
def test_errors_and_reprs_do_not_show_it(url: str) -> None:
    server = Server(url, connect_timeout=0.05)
    broker = Broker(server)
    with pytest.raises(BrokerUnavailable) as caught:
        broker.number("default")
    error = caught.value
    shown = f"{server!r} {broker!r} {error!r} {error} {error.address}"
    shown += "".join(traceback.format_exception(error))
    assert SECRET not in shown


@pytest.mark.parametrize("secret_url", URLS, ids=range(len(URLS)))
def test_settings_checks_and_the_workers_lines_do_not_show_it(
    secret_url: str,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with override_settings(TASKS={"default": configured(secret_url, prefix, CONNECT_TIMEOUT=0.05)}):
        backend = task_backends["default"]
        assert isinstance(backend, RedisBackend)
        with pytest.raises(CommandError) as refused:
            call_command("runworker", "--burst")
        with pytest.raises(BrokerUnavailable) as caught:
            double.enqueue(1)
        plan = Plan(alias="default", queues={"default": 1})
        make = lambda alias: (backend.broker, RedisBackend)  # noqa: E731
        supervisor = Supervisor(plan, backend.broker, make, sender=RedisBackend)
        shown = f"{backend.check()} {backend.conf!r} {refused.value} {caught.value} {supervisor}"
    assert SECRET not in shown + caplog.text + "".join(capsys.readouterr())


# --- what the client library and the server say ---------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"unknown command 'AUTH', with args beginning with: 'ada' '{SECRET}@x'",
        f"Error connecting to redis://ada:{SECRET}%40x@host:1/0",
    ],
)
def test_an_error_of_the_client_library_is_scrubbed(text: str) -> None:
    server = Server(f"redis://ada:{SECRET}%40x@127.0.0.1:1/0")

    def fail() -> None:
        try:
            raise redis.ConnectionError(text)
        except redis.ConnectionError as error:
            raise server.unavailable(error, maybe_sent=False) from error

    with pytest.raises(BrokerUnavailable) as caught:
        fail()
    assert SECRET not in "".join(traceback.format_exception(caught.value))

    meant = server.meaning(redis.ResponseError(text))
    assert isinstance(meant, redis.ResponseError)
    assert SECRET not in "".join(traceback.format_exception(meant))


def test_a_server_that_does_not_know_our_password_is_not_told_on(url: str, prefix: str) -> None:
    """A real refusal: the tests' server has no password, or another one."""
    separator = "&" if "?" in url else "?"
    if url.startswith("embedded:"):
        where = embedded.parse(url)
        url, separator = f"unix://{embedded.ensure(where.path, persist=where.persist)}", "?"
    server = Server(f"{url}{separator}username=nobody&password={SECRET}", connect_timeout=0.2)
    with pytest.raises(BrokerUnavailable) as caught:
        Broker(server, prefix).number("default")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert "nobody" not in str(caught.value)


def test_the_embedded_servers_directory_is_ours_alone(url: str) -> None:
    if not url.startswith("embedded:"):
        pytest.skip("the tests run on another server")
    home = Path(embedded.parse(url).path)
    assert home.stat().st_mode & 0o777 == 0o700
