"""For how long a form pauses something."""

from __future__ import annotations

from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _

MINUTES = (15, 60, 240, 1440)  # after which a pause may end by itself


def minutes(request: HttpRequest) -> int:
    """After how many minutes it ends; 0: when somebody ends it. Raises Http404 for other words."""
    said = request.POST.get("minutes", "")
    if said not in ("", *map(str, MINUTES)):
        raise Http404(_("A pause cannot last that long."))
    return int(said or 0)
