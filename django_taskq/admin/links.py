"""Addresses of our pages; the backend travels along where there are several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from ..tasks import redis_aliases

Values = Mapping[str, str | Sequence[str]]


def query(alias: str, params: Values, first: str = "") -> str:
    """What stands behind the path: the parameters that say something, and the backend.

    Without an alias the page has to look for it. ``first``: the alias that need not be said, of
    whoever knows it already.
    """
    said = {name: value for name, value in params.items() if value}
    if alias and alias != (first or redis_aliases()[0]):
        said["backend"] = alias
    return f"?{urlencode(said, doseq=True)}" if said else ""
