"""Which backend a request looks at, and how its server is asked: a person waits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.contrib.admin.utils import unquote
from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _

from ..backends import get_broker
from ..broker.audit import Audit
from ..broker.broker import Broker
from ..broker.connection import get_server
from ..broker.inspector import Inspector, QueueState
from ..broker.releases import Releases
from ..broker.roster import Roster
from ..broker.steering import Steering
from ..broker.triage import Triage
from ..client import number_in
from ..clock import now_ms
from ..compat import task_backends
from ..operations import Operations
from ..tasks import redis_aliases
from ..timetable import Timetable

CONNECT, ANSWER = 0.9, 1.5  # seconds for which a page waits for its server
MOST_QUEUES = 50  # queues that one list looks at together


def time_of(states: Sequence[QueueState]) -> int:
    """Redis' clock (ms) as it was read with some queues, which jobs go by; without one, ours."""
    return max((state.now for state in states), default=0) or now_ms()


class Console:
    """One backend as a request sees it."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.backend = task_backends[alias]
        self.conf = self.backend.conf

    @classmethod
    def of(cls, request: HttpRequest) -> Console:
        """The backend that a request names, else the first. Raises Http404 for an unknown one."""
        aliases = redis_aliases()
        if not aliases:
            raise Http404(_("No backend in TASKS keeps its jobs in Redis."))
        wanted = request.POST.get("backend") or request.GET.get("backend") or aliases[0]
        if wanted not in aliases:
            raise Http404(_("There is no backend of that name."))
        return cls(wanted)

    @cached_property
    def broker(self) -> Broker:
        conf = self.conf
        timeouts = (min(conf.connect_timeout, CONNECT), min(conf.socket_timeout, ANSWER), CONNECT)
        return get_broker(get_server(conf.url, *timeouts), conf)

    @cached_property
    def inspector(self) -> Inspector:
        return Inspector(self.broker)

    @cached_property
    def steering(self) -> Steering:
        return Steering(self.broker)

    @cached_property
    def roster(self) -> Roster:
        return Roster(self.broker)

    @cached_property
    def releases(self) -> Releases:
        return Releases(self.broker)

    @cached_property
    def audit(self) -> Audit:
        return Audit(self.broker)

    @cached_property
    def triage(self) -> Triage:
        return Triage(self.broker)

    @cached_property
    def operations(self) -> Operations:
        return Operations(self.broker, self.conf.max_payload)

    @cached_property
    def timetable(self) -> Timetable:
        """The schedules, asked for on this console's own connection."""
        return Timetable(self.broker, self.alias, type(self.backend), self.conf.max_payload)

    @cached_property
    def queues(self) -> list[str]:
        """Every queue that ever took a job, those in QUEUES first; one round trip."""
        known = set(self.broker.queues())
        declared = [name for name in self.conf.queues if name in known]
        return [*declared, *sorted(known - {*declared})]

    def known_queue(self, object_id: str) -> str:
        """The queue of an address; one round trip. Raises Http404."""
        name = unquote(object_id)
        if name not in self.queues:
            raise Http404(_("There is no queue of that name."))
        return name

    def open_queues(self) -> list[QueueState]:
        """The queues that jobs may be sent to, as they stand; one round trip."""
        return self.inspector.queues(list(self.conf.queues) or self.queues)

    def queue_of(self, id: str) -> str | None:
        """The queue that a job's id names; None where no queue has its number."""
        number = number_in(id)
        return self.broker.queue_of(number) if number else None

    def context(self) -> dict[str, Any]:
        """What every page says of the backend."""
        return {
            "alias": self.alias,
            "aliases": redis_aliases(),
            "address": self.broker.server.address,
            "prefix": self.broker.prefix,
        }
