"""Wall time for what is stored, monotonic time for what is measured.

Layer 0. Nothing else calls ``time.time()``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from django.conf import settings
from django.utils import timezone


def now_ms() -> int:
    """This machine's wall clock in ms since the epoch; only ever informational."""
    return time.time_ns() // 1_000_000


monotonic = time.monotonic


def to_datetime(ms: int) -> datetime | None:
    """``ms`` since the epoch as Django shows times (aware under USE_TZ).

    None for 0, and for what no datetime can say.
    """
    if not ms:
        return None
    try:
        moment = datetime.fromtimestamp(ms / 1000, UTC)
        return moment if settings.USE_TZ else timezone.make_naive(moment)
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return None


def to_ms(moment: datetime) -> int:
    """A datetime as ms since the epoch; a naive one is in Django's current time zone."""
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment)
    return int(moment.timestamp() * 1000)
