"""What to say about a name that nobody knows.

Layer 1: pure, no I/O.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def nearest(name: Any, valid: Iterable[str]) -> str:
    """What to say about an unknown name: ``did you mean 'x'?``, or the names there are."""
    names = {option.casefold(): option for option in valid}
    close = difflib.get_close_matches(str(name).casefold(), names, n=1)
    if close:
        return f"did you mean {names[close[0]]!r}?"
    return f"valid names are {', '.join(sorted(names.values()))}"
