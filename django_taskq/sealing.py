"""From a backend's settings to the Seals of its jobs."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .codec import Seals
from .conf import Options


class Sealing(NamedTuple):
    """The settings that Seals are made of."""

    sign: bool | str | None
    secrets: tuple[str | bytes, ...]
    keys: tuple[bytes, ...] | None

    @classmethod
    def of(cls, conf: Options) -> Sealing:
        """Those of a backend. Django's secrets are looked at only where they are to sign."""
        secrets: tuple[str | bytes, ...] = ()
        if conf.sign:
            secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        return cls(conf.sign, secrets, conf.encryption_keys)

    def __repr__(self) -> str:
        return "Sealing(...)"

    def seals(self, prefix: str) -> Seals | None:
        """What seals the jobs; None: nothing does."""
        if self.sign is None or self.keys is None:
            return Unusable()
        if not self.sign and not self.keys:
            return None
        return Seals(prefix, secrets=self.secrets, keys=self.keys, lenient=self.sign == "accept")


class Unusable(Seals):
    """Stands where seals were asked for and cannot be made: better nothing than unsealed."""

    def __getattribute__(self, name: str) -> Any:
        raise ImproperlyConfigured(
            "OPTIONS['SIGN'] or OPTIONS['ENCRYPTION_KEYS'] cannot be used: see `manage.py check`"
        )
