"""What a URL says about where Redis is and how to speak to it.

Layer 1: pure, no I/O. Messages and ``repr`` never show a password.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from .exceptions import InvalidOption

PLAIN = ("redis", "rediss")
SENTINEL = ("redis+sentinel", "rediss+sentinel")
CLUSTER = ("redis+cluster", "rediss+cluster")
SCHEMES = (*PLAIN, "unix", *SENTINEL, *CLUSTER, "embedded")

REDIS_PORT = 6379
SENTINEL_PORT = 26379

Host = tuple[str, int]


def _yes_or_no(text: str) -> bool:
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    return known[text.lower()]


def _requirement(text: str) -> str:
    if text not in ("required", "optional", "none"):
        raise ValueError
    return text


# What may stand behind the "?": name -> (how it is read, what it must be).
PARAMETERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "db": (int, "a whole number"),
    "username": (str, ""),
    "password": (str, ""),
    "client_name": (str, ""),
    "socket_keepalive": (_yes_or_no, "yes or no"),
}
TLS_PARAMETERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "ssl_ca_certs": (str, ""),
    "ssl_ca_path": (str, ""),
    "ssl_certfile": (str, ""),
    "ssl_keyfile": (str, ""),
    "ssl_password": (str, ""),
    "ssl_cert_reqs": (_requirement, "required, optional or none"),
    "ssl_check_hostname": (_yes_or_no, "yes or no"),
    "ssl_ciphers": (str, ""),
}
SENTINEL_PARAMETERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "sentinel_username": (str, ""),
    "sentinel_password": (str, ""),
}
ELSEWHERE = {
    "socket_timeout": "SOCKET_TIMEOUT",
    "timeout": "SOCKET_TIMEOUT",
    "socket_connect_timeout": "CONNECT_TIMEOUT",
}


@dataclass(frozen=True, slots=True)
class Address:
    """A URL that was understood.

    ``hosts``: one server, all Sentinels, or some nodes of the Cluster; ``path``: a unix socket
    or an embedded server's directory; ``options``: user, password, database and certificates, as
    redis-py's connections take them; ``sentinel``: the user of the Sentinels.
    """

    scheme: str
    hosts: tuple[Host, ...] = ()
    path: str = ""
    service: str = ""
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    sentinel: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Address:
        """The URL, understood. Raises InvalidOption, without the URL in its message."""
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in SCHEMES:
            schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise InvalidOption(f"it must begin with one of {schemes}")
        if scheme in ("unix", "embedded") and not rest.partition("?")[0]:
            raise InvalidOption(f"a path must follow {scheme}://")
        if scheme == "embedded":
            return cls(scheme, path=rest.partition("?")[0])
        try:
            parts = urlsplit(url)
            hosts = () if scheme == "unix" else _hosts(parts, scheme in SENTINEL)
        except ValueError:
            raise InvalidOption("its host or port cannot be read") from None
        if scheme in PLAIN and len(hosts) > 1:
            raise InvalidOption(
                "several hosts: say redis+cluster:// for a Cluster, redis+sentinel:// for Sentinels"
            )
        options = _parameters(parts, scheme)
        sentinel = {
            name.removeprefix("sentinel_"): options.pop(name)
            for name in SENTINEL_PARAMETERS
            if name in options
        }
        where = {"unix": _path, "redis+sentinel": _service, "rediss+sentinel": _service}
        found = where.get(scheme, _database)(parts, options)
        if scheme in CLUSTER and options.get("db"):
            raise InvalidOption("a Cluster has only the database 0")
        return cls(scheme, hosts, options=options, sentinel=sentinel, **found)

    @property
    def is_tls(self) -> bool:
        return self.scheme.startswith("rediss")

    @property
    def is_cluster(self) -> bool:
        return self.scheme in CLUSTER

    @property
    def is_sentinel(self) -> bool:
        return self.scheme in SENTINEL

    def __str__(self) -> str:
        """The URL without user, passwords and certificates, for messages."""
        hosts = ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        where = self.path or (f"{hosts}/{self.service}" if self.service else hosts)
        database = self.options.get("db")
        return f"{self.scheme}://{where}" + ("" if database is None else f"/{database}")


def _hosts(parts: SplitResult, sentinel: bool) -> tuple[Host, ...]:
    """``host:port,[v6]:port`` behind the user. Raises ValueError."""
    port = SENTINEL_PORT if sentinel else REDIS_PORT
    listed = parts.netloc.rpartition("@")[2].split(",")
    hosts = []
    for one in listed:
        alone = urlsplit(f"//{one}")
        hosts.append((unquote(alone.hostname or "localhost"), alone.port or port))
    return tuple(hosts)


def _parameters(parts: SplitResult, scheme: str) -> dict[str, Any]:
    """User, password, and what stands behind the "?"."""
    readers = dict(PARAMETERS)
    if scheme.startswith("rediss"):
        readers |= TLS_PARAMETERS
    if scheme in SENTINEL:
        readers |= SENTINEL_PARAMETERS
    options = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in readers:
            raise InvalidOption(f"unknown parameter {name!r}: {_hint(name, list(readers))}")
        read, must = readers[name]
        try:
            options[name] = read(text)
        except (KeyError, ValueError):
            raise InvalidOption(f"{name} must be {must}") from None
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    if user:
        options["username"] = unquote(user)
    if password:
        options["password"] = unquote(password)
    return options


def _hint(name: str, known: list[str]) -> str:
    if name in ELSEWHERE:
        return f"set OPTIONS[{ELSEWHERE[name]!r}]"
    if name in TLS_PARAMETERS:
        return "it needs TLS, so rediss:// in the scheme"
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid names are {', '.join(sorted(known))}"


def _path(parts: SplitResult, options: dict[str, Any]) -> dict[str, str]:
    return {"path": unquote(parts.path)}


def _database(parts: SplitResult, options: dict[str, Any]) -> dict[str, str]:
    text = parts.path.strip("/")
    if text and not text.isdecimal():
        raise InvalidOption("what follows the host must be a database number, as in /0")
    if text:
        options.setdefault("db", int(text))
    return {}


def _service(parts: SplitResult, options: dict[str, Any]) -> dict[str, str]:
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not (database or "0").isdecimal():
        raise InvalidOption("the Sentinels' name for the master must follow, as in /mymaster/0")
    if database:
        options.setdefault("db", int(database))
    return {"service": unquote(service)}


def check_url(value: Any, name: str) -> str:
    """A setting's URL, if it can be understood. Raises InvalidOption, without the URL in it."""
    if not isinstance(value, str):
        raise InvalidOption(f"{name} is a {type(value).__name__}: it must be text")
    try:
        Address.parse(value)
    except InvalidOption as error:
        raise InvalidOption(f"{name}: {error}") from None
    return value
