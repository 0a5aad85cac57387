"""What needs a person at the server itself: its memory, keys that it throws away, its replicas."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..broker.inspector import ServerState
from .shared import Alert

FULL = 90  # % of its memory
SILENT = 10  # seconds after which a replica that says nothing is behind; it does so every second


def alerts(server: ServerState, *, may_evict: bool) -> Iterator[Alert]:
    """What needs a person. ``may_evict``: whether the settings take it that keys vanish."""
    if server.share > FULL:
        text = _("Redis is nearly full: %(share)d %% of its memory is used.")
        yield Alert("error", text % {"share": server.share})
    if server.evicts and not may_evict:
        text = _("Redis throws keys away when it is full (%(policy)s): whole queues would vanish.")
        yield Alert("error", text % {"policy": f"maxmemory-policy {server.policy}"})
    if server.evicted:
        text = ngettext(
            "Redis has thrown %(count)d key away since it was started: jobs may be lost.",
            "Redis has thrown %(count)d keys away since it was started: jobs may be lost.",
            server.evicted,
        )
        yield Alert("warning" if may_evict else "error", text % {"count": server.evicted})
    for replica in server.replicas:
        if not replica.is_online:
            text = _("Replica %(address)s of Redis is not in step yet.")
            yield Alert("warning", text % {"address": replica.address})
        elif replica.lag >= SILENT:
            text = _("Replica %(address)s of Redis has said nothing for %(count)d s.")
            yield Alert("warning", text % {"address": replica.address, "count": replica.lag})
