"""Rows of the outbox: written, made into jobs again, deleted; and what to say where there is none.

The model is looked up when it is needed: a backend is made before all apps are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError, connections, router

from ..broker.broker import CHUNK, Draft, chunks
from ..clock import monotonic, now_ms, to_ms
from ..recipe import Prepared

if TYPE_CHECKING:
    from .models import OutboxJob

APP = "django_taskq.outbox"
LABEL, MODEL = "taskq_outbox", "OutboxJob"
TABLE = "taskq_outbox"


class Kept(NamedTuple):
    """A job whose row was written. The times in its draft are absolute, as the row's are."""

    job: Prepared
    row: int
    since: float  # monotonic


class TableMissing(ImproperlyConfigured):
    """The database has no outbox, or an older one."""


def model() -> type[OutboxJob]:
    """The model. Raises ImproperlyConfigured without the app."""
    try:
        return apps.get_model(LABEL, MODEL)
    except LookupError:
        raise ImproperlyConfigured(
            f"OPTIONS['OUTBOX'] needs {APP!r} in INSTALLED_APPS, and `manage.py migrate`"
        ) from None


def databases() -> list[str]:
    """The aliases of the databases in which an outbox may be."""
    return [alias for alias in connections if router.allow_migrate_model(alias, model())]


def write(jobs: Sequence[Prepared], backend: str, using: str) -> list[Kept]:
    """Writes a row per job. Raises TableMissing."""
    now = monotonic()
    lasting = [job._replace(draft=absolute(job)) for job in jobs]
    rows = [row_of(job, backend) for job in lasting]
    manager = model()._default_manager.using(using)
    with explained(using):
        if connections[using].features.can_return_rows_from_bulk_insert:
            manager.bulk_create(rows, batch_size=CHUNK)
        else:
            for row in rows:
                row.save(force_insert=True, using=using)
    return [Kept(job, row.pk, now) for job, row in zip(lasting, rows, strict=True)]


def delete(rows: Sequence[int], using: str) -> int:
    """Deletes rows, a statement per chunk; how many were there."""
    manager = model()._default_manager.using(using)
    # Not delete(), which begins a transaction of its own for each statement.
    return sum(manager.filter(pk__in=chunk)._raw_delete(using) for chunk in chunks(rows, CHUNK))


@contextmanager
def explained(using: str) -> Iterator[None]:
    """Says what to do where a statement failed because the table is not as it should be."""
    try:
        yield
    except (OperationalError, ProgrammingError) as error:
        if TABLE not in str(error):
            raise
        raise TableMissing(
            f"the database {using!r} has no outbox, or an older one: run `manage.py migrate "
            f"--database {using}`, with a router that allows {LABEL!r} there ({error})"
        ) from error


# -- between rows, drafts and moments --------------------------------------------------------------


def absolute(job: Prepared) -> Draft:
    """The job's draft with a time in the place of a delay, counted from its enqueue."""
    if job.draft.due >= 0 or job.moment is None:
        return job.draft
    return job.draft._replace(due=to_ms(job.moment) - job.draft.due)


def row_of(job: Prepared, backend: str) -> OutboxJob:
    """The row of a job with an absolute draft."""
    draft = job.draft
    expires = 0
    if draft.expires_in and job.moment is not None:
        expires = to_ms(job.moment) + draft.expires_in
    return model()(
        backend=backend,
        queue=job.queue,
        job=draft.id,
        envelope=draft.envelope,
        priority=draft.priority,
        due=draft.due,
        expires=expires,
        ask=ask_of(draft),
    )


def draft_of(row: OutboxJob) -> Draft:
    """The draft in a row, as it is to be sent now."""
    ask = bytes(row.ask)
    return Draft(
        row.job,
        bytes(row.envelope),
        row.priority,
        row.due,
        left(row.expires),
        *([ask] if ask else []),
    )


def renewed(job: Prepared) -> Prepared:
    """A kept job as it is to be sent now: its expiry counts from its enqueue."""
    draft = job.draft
    if not draft.expires_in or job.moment is None:
        return job
    return job._replace(draft=draft._replace(expires_in=left(to_ms(job.moment) + draft.expires_in)))


def left(expires: int) -> int:
    """How many ms from now a time is; 0 for none, 1 for one that is over."""
    return max(expires - now_ms(), 1) if expires else 0


def ask_of(draft: Any) -> bytes:
    """What a draft asks of the script beside its times and its priority."""
    return bytes(getattr(draft, "ask", b""))
