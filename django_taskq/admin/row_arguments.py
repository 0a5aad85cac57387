"""The arguments in the form of a schedule's row: a field for each parameter of its task.

A row keeps them as two pieces of JSON. Those that do not fit the task's signature, as it is now,
are edited as they are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..codec import HIDDEN, redact
from ..codec.slots import Slot, Split, check, fitting, joined, slots_of, split
from ..exceptions import ArgumentsDoNotBind
from ..showing import pretty
from ..task import Task
from .fields import MISSING, Kind, argument_field, kind_of, read, shown, stays

SHOWN = "arguments_of"  # in what is sent: the task whose parameters the form had fields for
ASK = "_arguments"  # the button that has them shown
NOTHING = Split()


class SecretMissing(ValueError):
    """Something that is not shown is needed."""

    def __str__(self) -> str:
        return _("Give the sensitive value: it is not shown here.")


def put_back(value: Any, kept: Any) -> Any:
    """A value of the form, with what it did not show put back from what was kept.

    Raises SecretMissing where that is nowhere to be had: also in a list that has become longer or
    shorter, as nothing says any more which is which.
    """
    if value == HIDDEN:
        if kept is MISSING:
            raise SecretMissing
        return kept
    if isinstance(value, list):
        is_alike = isinstance(kept, list) and len(kept) == len(value)
        before = kept if is_alike else [MISSING] * len(value)
        return [put_back(*pair) for pair in zip(value, before, strict=True)]
    if isinstance(value, dict):
        named = kept if isinstance(kept, dict) else {}
        return {name: put_back(each, named.get(name, MISSING)) for name, each in value.items()}
    return value


class ArgumentFields:
    """The fields for one task, which is called with ``kept`` so far, secrets and all.

    ``names``: the form's fields that are to be shown, in order; *args and **kwargs are taken by the
    fields ``args`` and ``kwargs``, which are there in any case.
    """

    def __init__(self, task: Task, kept: Split = NOTHING, seen: Split = NOTHING) -> None:
        self.task, self.kept, self.seen = task, kept, seen
        self.slots = slots_of(task.signature)
        self.kinds = {slot.name: self._kind(slot) for slot in self.slots}
        stars = {"args": task.signature.rest, "kwargs": task.signature.others}
        self.stars = {key: name for key, name in stars.items() if name}
        self.names = [*map(key_of, self.slots), *self.stars]

    @classmethod
    def of(cls, task: Task, args: Any, kwargs: Any) -> ArgumentFields | None:
        """The fields for these arguments; None where they do not fit the signature."""
        kept = split(task.signature, args, kwargs)
        seen = kept and split(task.signature, *redact(task, args, kwargs))
        return cls(task, kept, seen) if kept and seen else None

    @classmethod
    def with_secrets(cls, task: Task, args: Any, kwargs: Any) -> ArgumentFields:
        """The fields where these arguments do not fit: of the named ones only secrets are kept."""
        parts = fitting(task.signature, args, kwargs)
        hidden = {name: each for name, each in parts.named.items() if task.signature.hides(name)}
        return cls(task, Split(hidden, parts.rest, parts.others))

    def _kind(self, slot: Slot) -> Kind:
        is_hidden = slot.is_hidden or slot.name not in self.kept.named
        return kind_of(slot.hint, MISSING if is_hidden else self.kept.named[slot.name])

    # -- the fields ------------------------------------------------------------------------------

    def add_to(self, form: forms.BaseForm) -> None:
        """Gives a form the fields, and those for *args and **kwargs what these take."""
        for slot in self.slots:
            form.fields[key_of(slot)] = self._field(slot)
        for key, values in self._star_values().items():
            field = form.fields[key]
            field.disabled = key not in self.stars  # it is not there, and nothing is read from it
            field.label = ("*" if key == "args" else "**") + self.stars.get(key, "")
            field.help_text = (
                _('A JSON list, such as ["value"].')
                if key == "args"
                else _('A JSON object, such as {"name": "value"}.')
            )
            form.initial[key] = values

    def _star_values(self) -> dict[str, Any]:
        return {"args": list(self.seen.rest), "kwargs": dict(self.seen.others)}

    def _field(self, slot: Slot) -> forms.CharField:
        has_value = slot.name in self.kept.named
        declared = format_html('<code dir="ltr">{}</code> ', slot.declared) if slot.declared else ""
        kind = self.kinds[slot.name]
        if slot.is_hidden and has_value:
            text, said = "", stays()
        else:
            text = shown(kind, self.kept.named[slot.name]) if has_value else ""
            said = " ".join([str(kind.said), *self._default(slot)])
        required = slot.is_required and not (slot.is_hidden and has_value)
        help_text = format_html("{}{}", declared, said)
        return argument_field(kind, slot.name, text, help_text, required=required)

    def _default(self, slot: Slot) -> list[str]:
        if slot.is_required:
            return []
        return [_("Left empty, it is %(default)s.") % {"default": slot.default}]

    def description(self) -> SafeString:
        """What the task takes."""
        none = "" if self.names else _("It takes no arguments.")
        return format_html('<code dir="ltr">{}</code> {}', str(self.task.signature), none)

    # -- what is sent ----------------------------------------------------------------------------

    def texts(self, args: Any, kwargs: Any) -> dict[str, str] | None:
        """What the fields say of arguments in JSON; None where these do not fit."""
        parts = split(self.task.signature, args, kwargs)
        if parts is None:
            return None
        found = {"args": pretty(list(parts.rest)), "kwargs": pretty(dict(parts.others))}
        for slot in self.slots:
            value, kind = parts.named.get(slot.name, MISSING), self.kinds[slot.name]
            is_empty = value is MISSING or value == HIDDEN
            if not is_empty and not kind.fits(value):
                return None
            found[key_of(slot)] = "" if is_empty else shown(kind, value)
        return found

    def kept_texts(self) -> dict[str, Any]:
        """What the fields of the arguments say that are kept."""
        found = {
            key_of(slot): self._field(slot).initial
            for slot in self.slots
            if slot.name in self.kept.named
        }
        stars = self._star_values()
        return found | {key: pretty(stars[key]) for key in self.stars}

    def call(self, form: forms.BaseForm) -> tuple[list[Any], dict[str, Any]] | None:
        """The arguments that the fields say; None where one says none, with an error there."""
        named = {}
        for slot in self.slots:
            value = self._tried(form, key_of(slot), self._value, slot)
            if value is not MISSING:
                named[slot.name] = value
        rest = self._tried(form, "args", self._star, list(self.kept.rest))
        others = self._tried(form, "kwargs", self._star, dict(self.kept.others))
        if any(name in form.errors for name in ("args", "kwargs", *self.names)):
            return None
        try:
            return joined(self.task.signature, Split(named, rest, others, self.kept.lead))
        except ArgumentsDoNotBind as error:
            form.add_error("args", str(error))
            return None

    def _tried(self, form: forms.BaseForm, key: str, step: Callable[..., Any], of: Any) -> Any:
        """What a field comes to; MISSING where there is an error, which is written at it."""
        if key in form.errors:
            return MISSING
        try:
            return step(form, key, of)
        except (ValueError, ArgumentsDoNotBind) as error:
            form.add_error(key, str(error))
            return MISSING

    def _value(self, form: forms.BaseForm, key: str, slot: Slot) -> Any:
        old = self.kept.named.get(slot.name, MISSING)
        text = form.cleaned_data[key]
        if form.fields[key].disabled or (slot.is_hidden and not text.strip()):
            return old
        if not text.strip():
            return MISSING
        value = put_back(read(self.kinds[slot.name], text), old)
        check(self.task.signature, slot.name, value)
        return value

    def _star(self, form: forms.BaseForm, key: str, old: Any) -> Any:
        value = form.cleaned_data.get(key) if key in self.stars else None
        if value is None:
            return type(old)()
        if not isinstance(value, type(old)):
            no_list, no_object = _("This is no JSON list."), _("This is no JSON object.")
            raise ValueError(no_list if key == "args" else no_object)
        return put_back(value, old)


def key_of(slot: Slot) -> str:
    """The name of a parameter's field."""
    return f"arg-{slot.name}"
