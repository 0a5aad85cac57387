"""A field for one argument: JSON, or plain text where its parameter takes nothing but a text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django import forms
from django.forms.fields import InvalidJSONInput
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..codec import decode
from ..codec.plain import Unfit, plain
from ..exceptions import MalformedJob
from ..showing import MOST_SHOWN, pretty

MISSING = object()  # stands where there is no value
MOST_ROWS = 12


class Kind(NamedTuple):
    """How a value is written in a field. ``fits``: what values may be that are written so."""

    is_text: bool
    fits: Callable[[Any], bool]
    said: Any  # what is expected, for the help text
    wrong: Any  # what to say of something else


NO_JSON = gettext_lazy("This is no JSON. A text stands in double quotes.")
JSON = Kind(False, lambda value: True, gettext_lazy("JSON."), NO_JSON)


def text_kind(said: Any) -> Kind:
    """What is a text in JSON too, and needs no quotes."""
    return Kind(True, lambda value: isinstance(value, str), said, NO_JSON)


def number_kind(said: Any, wrong: Any, *types: type) -> Kind:
    """A word or number of JSON's own."""
    return Kind(False, lambda value: type(value) in types, said, wrong)


# By the annotation. Exactly these: what else a parameter may take is said in JSON.
KINDS: dict[Any, Kind] = {
    str: text_kind(
        gettext_lazy('Text. One that begins with a double quote is JSON: "" is an empty one.')
    ),
    date: text_kind(gettext_lazy("A day, such as 2027-12-31.")),
    datetime: text_kind(gettext_lazy("A moment, such as 2027-12-31T23:59:00+01:00.")),
    time: text_kind(gettext_lazy("A time, such as 23:59:00.")),
    Decimal: text_kind(gettext_lazy("A number, such as 12.50.")),
    UUID: text_kind(gettext_lazy("A UUID.")),
    int: number_kind(
        gettext_lazy("A whole number."), gettext_lazy("This is no whole number."), int
    ),
    float: number_kind(
        gettext_lazy("A number, such as 12.50."), gettext_lazy("This is no number."), int, float
    ),
    bool: number_kind(
        gettext_lazy("true or false."), gettext_lazy("This is neither true nor false."), bool
    ),
}


def kind_of(hint: Any, value: Any = MISSING) -> Kind:
    """The kind that goes with an annotation, unless the value that is there needs JSON."""
    try:
        kind = KINDS.get(hint, JSON)
    except TypeError:  # an annotation that cannot be hashed
        return JSON
    return kind if value is MISSING or kind.fits(value) else JSON


def shown(kind: Kind, value: Any) -> str:
    """A value as its field has it; ``read()`` makes the same of it."""
    is_bare = kind.is_text and value == value.strip() != "" and value[0] != '"'
    return value if is_bare and "\r" not in value else pretty(value)


def read(kind: Kind, text: str) -> Any:
    """The value that a text says. Raises ValueError with what is wrong."""
    if kind.is_text and not text.startswith('"'):
        return text
    try:
        value = plain(decode(text.encode("utf-8", "backslashreplace")))
    except MalformedJob:
        raise ValueError(str(kind.wrong)) from None
    except Unfit:
        raise ValueError(_("This is nested too deep.")) from None
    if not kind.fits(value):
        raise ValueError(str(kind.wrong))
    return value


class TextField(forms.CharField):
    """A text of lines, which browsers end with two characters."""

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


class JsonField(forms.JSONField):
    """JSON that can travel, and nothing for an empty text. It is shown again as it was typed."""

    def to_python(self, value: Any) -> Any:
        if self.disabled or not isinstance(value, str):
            return value
        try:
            return read(JSON, value) if value.strip() else None
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        if self.disabled or data is None:
            return initial
        return InvalidJSONInput(data)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """By what it says. Django's own finds that one which is disabled has changed."""
        if self.disabled:
            return False
        try:
            said = self.to_python(data)
        except forms.ValidationError:
            return True
        return repr(said or None) != repr(initial or None)  # 1 is not true


def argument_field(
    kind: Kind, label: str, text: str, help_text: str, *, required: bool
) -> TextField:
    """The field of an argument. One that is too long to be edited is shown in part, and stays."""
    is_long = len(text) > MOST_SHOWN
    rows = min(max(text.count("\n") + 1, 1), MOST_ROWS)
    return TextField(
        label=label,
        initial=text[:MOST_SHOWN],
        help_text=_("Too long to be edited here.") if is_long else help_text,
        required=required,
        disabled=is_long,
        widget=area(rows, "auto" if kind.is_text else "ltr"),
    )


def area(rows: int, direction: str = "ltr") -> forms.Textarea:
    """Lines for what is no language's."""
    return forms.Textarea(
        attrs={"rows": rows, "spellcheck": "false", "dir": direction, "class": "vLargeTextField"}
    )


def stays() -> str:
    """The help text of a secret that is there."""
    return _("Sensitive, so it is not shown. Leave it empty to keep it.")
