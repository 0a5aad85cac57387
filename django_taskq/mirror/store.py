"""Writing rows: many in one statement, and never over a row of a later look.

Where the database can say ``ON CONFLICT … WHERE``, a job's row is inserted or overwritten in one
step, and answers its key only if it was; so a reader whose place another took, or one that reads
an old part of the stream again, changes nothing. The other databases do the same under a lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connections, models, transaction

from .models import Attempt, JobPayload, JobRecord
from .rows import ATTEMPT, PAYLOAD, RECORD, Rows

JOB, VERSION = RECORD.index("job"), RECORD.index("version")
KEY = ("job", "backend")


class Store:
    """The three tables in one database."""

    def __init__(self, using: str) -> None:
        self.using = using

    def write(self, rows: Sequence[Rows]) -> int:
        """Writes jobs, each at most once, in one transaction; how many were news."""
        if not rows:
            return 0
        ordered = sorted(rows, key=lambda row: row.record[JOB])  # two who write wait, at worst
        with transaction.atomic(using=self.using):
            keys = self._records([row.record for row in ordered])
            news = [(keys[row.record[JOB]], row) for row in ordered if row.record[JOB] in keys]
            self._upsert(JobPayload, PAYLOAD, [(key, *row.payload) for key, row in news])
            failed = [(key, *attempt) for key, row in news for attempt in row.attempts]
            self._upsert(Attempt, ATTEMPT, list(dict.fromkeys(failed)))
        return len(news)

    def mark_gone(self, backend: str, ids: Sequence[str], at: Any, version: int) -> int:
        """Notes that Redis has these jobs no more; their last state stays. How many there were."""
        rows = JobRecord.objects.using(self.using).filter(backend=backend, job__in=ids)
        return int(
            rows.filter(version__lt=version, gone_at=None).update(gone_at=at, version=version)
        )

    def open_rows(
        self, backend: str, queue: str, version: int, after: int, most: int
    ) -> list[tuple[int, str]]:
        """Rows, by key and id, that were not written since a version and are not gone."""
        rows = JobRecord.objects.using(self.using).filter(
            backend=backend, queue=queue, gone_at=None, version__lt=version, pk__gt=after
        )
        return list(rows.order_by("pk").values_list("pk", "job")[:most])

    # -- statements ------------------------------------------------------------------------------

    @property
    def _connection(self) -> Any:
        return connections[self.using]

    def _records(self, records: Sequence[Sequence[Any]]) -> dict[str, int]:
        """Writes those that are newer than what is there; their keys by job."""
        if self._connection.vendor in SOURCES:
            return dict(self._upsert(JobRecord, RECORD, records))
        return self._records_under_lock(records)

    def _upsert(
        self, model: type[models.Model], names: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> Sequence[tuple[Any, ...]]:
        """Inserts, or overwrites where that is right; for job rows what was written."""
        if not rows:
            return []
        if self._connection.vendor not in SOURCES:
            self._portable(model, names, rows)
            return []
        sql = statement(self._connection, model, names)
        with self._connection.cursor() as cursor:
            cursor.execute(sql, [SOURCES[self._connection.vendor][1](self._connection, rows)])
            return cursor.fetchall() if model is JobRecord else []

    # -- databases that cannot ---------------------------------------------------------------------

    def _records_under_lock(self, records: Sequence[Sequence[Any]]) -> dict[str, int]:
        rows = JobRecord.objects.using(self.using).filter(
            backend=records[0][0], job__in=[record[JOB] for record in records]
        )
        if self._connection.features.has_select_for_update:
            rows = rows.select_for_update()
        known = dict(rows.values_list("job", "version"))
        fresh = [record for record in records if record[VERSION] > known.get(record[JOB], -1)]
        self._portable(JobRecord, RECORD, fresh)
        jobs = [record[JOB] for record in fresh]
        return dict(
            JobRecord.objects.using(self.using)
            .filter(backend=records[0][0], job__in=jobs)
            .values_list("job", "pk")
        )

    def _portable(
        self, model: type[models.Model], names: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        made = [model(**dict(zip(names, row, strict=True))) for row in rows]
        manager = model._default_manager.using(self.using)
        if model is Attempt:
            manager.bulk_create(made, ignore_conflicts=True)
            return
        options: dict[str, Any] = {"update_fields": changing(model, names)}
        if self._connection.features.supports_update_conflicts_with_target:
            options["unique_fields"] = conflict(model)
        manager.bulk_create(made, update_conflicts=True, **options)


def conflict(model: type[models.Model]) -> tuple[str, ...]:
    """The names that tell one row from another."""
    if model is JobRecord:
        return KEY
    return ("record_id",) if model is JobPayload else ("record_id", "ended_at", "number")


def changing(model: type[models.Model], names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in conflict(model)]


def statement(connection: Any, model: type[models.Model], names: Sequence[str]) -> str:
    """The one statement that writes any number of rows; all values are parameters."""
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    fields: list[Any] = [model._meta.get_field(name.removesuffix("_id")) for name in names]
    columns = ", ".join(quote(field.column) for field in fields)
    source = SOURCES[connection.vendor][0](connection, fields)
    target = ", ".join(quote(name) for name in conflict(model))
    if model is Attempt:
        action = "DO NOTHING"
    else:
        new = ", ".join(f"{quote(n)} = EXCLUDED.{quote(n)}" for n in changing(model, names))
        action = f"DO UPDATE SET {new}"
    sql = f"INSERT INTO {table} ({columns}) {source} ON CONFLICT ({target}) {action}"
    if model is JobRecord:
        version, key = quote("version"), quote("id")
        sql += f" WHERE {table}.{version} < EXCLUDED.{version}"
        sql += f" RETURNING {table}.{quote('job')}, {table}.{key}"
    return sql


def _elements(connection: Any, fields: Sequence[Any]) -> str:
    """PostgreSQL. Arrays, one for each column, cost psycopg three times as much without its C."""
    parts = ", ".join(
        f"(v->>{at})::{type_of(field, connection)}" for at, field in enumerate(fields)
    )
    return f"SELECT {parts} FROM jsonb_array_elements(%s::jsonb) AS rows(v)"  # noqa: S608 - ours


def type_of(field: Any, connection: Any) -> str:
    """A column's type; without its length, since what is too long was cut."""
    kind = field.rel_db_type(connection) if field.remote_field else field.db_type(connection)
    return str(kind).partition("(")[0]


def _each(connection: Any, fields: Sequence[Any]) -> str:
    """SQLite."""
    parts = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(len(fields)))
    return f"SELECT {parts} FROM json_each(%s) WHERE true"  # noqa: S608 - numbers


def _json(connection: Any, rows: Sequence[Sequence[Any]]) -> str:
    return msgspec.json.encode(rows).decode()


def _json_as_sqlite_has_it(connection: Any, rows: Sequence[Sequence[Any]]) -> str:
    adapt = connection.ops.adapt_datetimefield_value
    plain = [[adapt(v) if isinstance(v, datetime) else v for v in row] for row in rows]
    return msgspec.json.encode(plain).decode()


# vendor -> how a statement names its rows, and how they become its one parameter: drivers and
# servers know better how to go through a text than through thousands of parameters.
SOURCES: dict[str, tuple[Any, Any]] = {
    "postgresql": (_elements, _json),
    "sqlite": (_each, _json_as_sqlite_has_it),
}
