"""BulkInsert, BulkUpdate: the rows of a set in few statements.

| rows of a set        | SQLite                    | PostgreSQL                         |
|----------------------|---------------------------|------------------------------------|
| INSERT               | VALUES (...), (...), ...  | an executemany                     |
| UPDATE by one column | UPDATE FROM such a VALUES | an executemany                     |
| compiled             | here, once for a length   | by SQLAlchemy, which remembers it  |

psycopg sends an executemany as one batch. For sqlite3 each of its rows is a step of a statement,
and at each step it lets go of the interpreter: under load another thread takes it every time, and
the writer waits to get it back. So there rows go in lists of 64, 32, ... 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from sqlalchemy import (
    ColumnElement,
    Insert,
    Table,
    Update,
    bindparam,
    column,
    insert,
    update,
    values,
)
from sqlalchemy.engine import Dialect as Language

from gatewayd.store.database import Tx

Row = Mapping[str, Any]
Process = Callable[[Any], Any]  # makes a value the driver's

_LENGTHS: Final = (64, 32, 16, 8, 4, 2, 1)  # of a list; SQLite binds 32766 values in one statement


class _Many(Protocol):
    """A statement for a list of rows, each with a value for every one of `columns`."""

    @property
    def table(self) -> Table: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    def of(self, length: int) -> Insert | Update:
        """The statement, with each value of a row bound under `_name(column, row)`."""
        ...


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as the driver takes it.

    places: for each value in turn its row, column and process.
    constants: what is the same each time, by place.
    """

    text: str
    places: tuple[tuple[int, str, Process | None], ...]
    constants: tuple[tuple[int, Any], ...]

    def bind(self, rows: Sequence[Row]) -> tuple[Any, ...]:
        bound = [
            rows[row][name] if process is None else process(rows[row][name])
            for row, name, process in self.places
        ]
        for place, value in self.constants:
            bound.insert(place, value)
        return tuple(bound)


@dataclass(slots=True, eq=False)
class _Bulk:
    """Runs such a statement."""

    many: _Many
    _compiled: dict[int, _Compiled] = field(default_factory=dict)

    def run(self, tx: Tx, rows: Sequence[Row]) -> None:
        """Write the rows; nothing when there are none."""
        if not rows:
            return
        if tx.dialect.steps_by_row:
            for some in _lists(rows):
                statement = self._statement(len(some), tx.connection.dialect)
                tx.connection.exec_driver_sql(statement.text, statement.bind(some))
        else:
            columns = self.many.columns
            tx.execute(self.many.of(1), [{_name(c, 0): row[c] for c in columns} for row in rows])

    def _statement(self, length: int, language: Language) -> _Compiled:
        found = self._compiled.get(length)
        if found is None:
            found = self._compiled[length] = _compile(self.many, length, language)
        return found


def _compile(many: _Many, length: int, language: Language) -> _Compiled:
    compiled = many.of(length).compile(dialect=language)
    processes: dict[str, Process | None] = {
        name: many.table.c[name].type.dialect_impl(language).bind_processor(language)
        for name in many.columns
    }
    of = {
        _name(name, row): (row, name, processes[name])
        for name in processes
        for row in range(length)
    }
    names = compiled.positiontup or ()
    return _Compiled(
        str(compiled),
        tuple(of[name] for name in names if name in of),
        tuple((place, compiled.params[name]) for place, name in enumerate(names) if name not in of),
    )


class BulkInsert(_Bulk):
    """INSERT of rows that all have a value for each of `columns`."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        super().__init__(_Insert(table, tuple(columns)))


class BulkUpdate(_Bulk):
    """UPDATE of rows by `key`, a column that is unique.

    Args:
        columns: what each row has a new value for, beside the key.
        also: what is set alike in all: columns with their new values, or expressions.
    """

    def __init__(
        self,
        table: Table,
        key: str,
        columns: Sequence[str],
        *,
        also: Mapping[str, ColumnElement[Any] | str] | None = None,
    ) -> None:
        super().__init__(_Update(table, (key, *columns), also or {}))


@dataclass(frozen=True, slots=True)
class _Insert:
    table: Table
    columns: tuple[str, ...]

    def of(self, length: int) -> Insert | Update:
        return insert(self.table).values(
            [dict(zip(self.columns, _bound(self, row), strict=True)) for row in range(length)]
        )


@dataclass(frozen=True, slots=True)
class _Update:
    table: Table
    columns: tuple[str, ...]  # the first is the key
    also: Mapping[str, ColumnElement[Any] | str]

    def of(self, length: int) -> Insert | Update:
        key, *changed = self.columns
        if length == 1:
            by, *to = _bound(self, 0)
            new: dict[str, Any] = dict(zip(changed, to, strict=True))
            return update(self.table).where(self.table.c[key] == by).values({**new, **self.also})
        kinds = (column(name, self.table.c[name].type) for name in self.columns)
        rows = values(*kinds, name="given").data([_bound(self, row) for row in range(length)])
        given = rows.cte("given")
        new = {name: given.c[name] for name in changed}
        return (
            update(self.table).where(self.table.c[key] == given.c[key]).values({**new, **self.also})
        )


def _bound(many: _Many, row: int) -> tuple[Any, ...]:
    return tuple(bindparam(_name(c, row), type_=many.table.c[c].type) for c in many.columns)


def _name(column_name: str, row: int) -> str:
    return f"{column_name}_{row}"


def _lists(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """All rows, in lists of known lengths."""
    at = 0
    for length in _LENGTHS:
        while len(rows) - at >= length:
            yield rows[at : at + length]
            at += length
