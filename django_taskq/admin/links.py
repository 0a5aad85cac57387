"""Addresses of our pages; the backend travels along where there are several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from ..tasks import redis_aliases

Values = Mapping[str, str | Sequence[str]]


def query(alias: str, params: Values) -> str:
    """What stands behind the path: the parameters that say something, and the backend."""
    said = {name: value for name, value in params.items() if value}
    if alias != redis_aliases()[0]:
        said["backend"] = alias
    return f"?{urlencode(said, doseq=True)}" if said else ""
