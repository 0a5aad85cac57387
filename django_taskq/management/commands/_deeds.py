"""How commands say in the audit log what they did."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import BaseCommand

from ...broker.audit import Audit
from ...broker.broker import Broker
from ...exceptions import BrokerError


def write_down(
    command: BaseCommand,
    broker: Broker,
    verb: str,
    kind: str,
    things: Sequence[str],
    told: Mapping[str, Any] | None = None,
    *,
    unsure: bool = False,
) -> None:
    """Says in the log that whoever runs this command did something; it is done already.

    ``unsure``: or may be; Redis did not say so.
    """
    outcome = {"unsure": len(things)} if unsure else None
    try:
        Audit(broker).write(person(), verb, kind, things, told, outcome)
    except BrokerError as error:
        how = "may be done" if unsure else "is done"
        command.stderr.write(f"It {how}, and is not in the audit log: {error}")


def person() -> str:
    """Who runs the command: user and host."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
