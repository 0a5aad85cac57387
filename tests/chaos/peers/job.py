"""What every system is given to do; it imports nothing that the peers' environment lacks."""

from __future__ import annotations

import time

from tests.chaos.ledger import BEGUN, DONE, trace


def job(number: int, ms: float) -> None:
    """Takes so long, and leaves a line before and after."""
    trace(BEGUN, number)
    time.sleep(ms / 1000)
    trace(DONE, number)
