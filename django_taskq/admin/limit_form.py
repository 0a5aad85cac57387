"""The form with the numbers of a limit."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _

from ..exceptions import InvalidOption
from ..limits import MOST, Limit, Rate, check_rate, made_limit


class LimitForm(forms.Form):
    """The numbers of a limit. ``limit``: what they come to."""

    limit: Limit

    concurrency = forms.IntegerField(min_value=1, max_value=MOST, required=False)
    rate = forms.CharField(max_length=50, required=False)
    burst = forms.IntegerField(min_value=1, max_value=MOST, required=False)
    why = forms.CharField(max_length=500, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        labels = {
            "concurrency": (_("Jobs at once"), _("A number, or empty for no such limit.")),
            "rate": (
                _("Jobs in a time"),
                _("Such as 100/m, 5/30s or 10/s, or empty."),
            ),
            "burst": (
                _("At once after a rest"),
                _("How many a rate lets start together; empty for a second's worth."),
            ),
            "why": (_("Reason, for whoever sees it"), ""),
        }
        for name, (label, help_text) in labels.items():
            self.fields[name].label, self.fields[name].help_text = label, help_text
            self.fields[name].widget.attrs |= {"autocomplete": "off", "spellcheck": "false"}

    def clean_rate(self) -> Rate | None:
        """The text as a rate."""
        try:
            return check_rate(self.cleaned_data["rate"] or None, "rate")
        except InvalidOption as error:
            raise forms.ValidationError(str(error)) from None

    def clean_burst(self) -> int | None:
        """All three together: the others were looked at before."""
        burst: int | None = self.cleaned_data["burst"]
        concurrency, rate = (self.cleaned_data.get(name) for name in ("concurrency", "rate"))
        if self.errors:
            return burst
        if burst and not rate:
            raise forms.ValidationError(_("Only a rate has a burst."))
        if concurrency or rate:
            self.limit = made_limit(concurrency, rate, burst)
        else:
            self.add_error(None, _("Give a number of jobs at once, a rate, or both."))
        return burst

    def clean_why(self) -> str:
        """In one line."""
        return " ".join(self.cleaned_data["why"].split())
