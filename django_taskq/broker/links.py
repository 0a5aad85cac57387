"""How connections are made, from what a URL says; redis-py's own defaults change with releases."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..address import Address, Host

Place = Host | str  # host and port, or the path of a unix socket

SYNC = (redis.Connection, redis.SSLConnection, redis.UnixDomainSocketConnection)
ASYNC = (
    redis.asyncio.Connection,
    redis.asyncio.SSLConnection,
    redis.asyncio.UnixDomainSocketConnection,
)


class Links:
    """Makes the connections of one address; none is opened here. Times are seconds."""

    def __init__(self, address: Address, connect_timeout: float, socket_timeout: float) -> None:
        self._is_tls = address.is_tls
        self._options: dict[str, Any] = {
            "socket_connect_timeout": connect_timeout,
            "socket_timeout": socket_timeout,
            "retry_on_error": [],
            "health_check_interval": 0,
            "protocol": 2,
            **address.options,
        }

    def make(self, place: Place, socket_timeout: float | None = None, **more: Any) -> Any:
        """A connection to a place; None: the usual timeout of its replies."""
        options = {**self._options, "retry": Retry(NoBackoff(), 0), **more}
        if socket_timeout is not None:
            options["socket_timeout"] = socket_timeout
        return self._make(SYNC, place, options)

    def make_async(self, place: Place) -> Any:
        """The same for the running event loop."""
        return self._make(ASYNC, place, {**self._options, "retry": AsyncRetry(NoBackoff(), 0)})

    def _make(self, kinds: Any, place: Place, options: dict[str, Any]) -> Any:
        plain, tls, unix = kinds
        if isinstance(place, str):
            options = {k: v for k, v in options.items() if k != "socket_keepalive"}
            return unix(path=place, **options)
        host, port = place
        return (tls if self._is_tls else plain)(host=host, port=port, **options)
