"""BulkInsert, BulkUpdate: the rows of a set in few statements.

| rows of a set        | SQLite                       | PostgreSQL                         |
|----------------------|------------------------------|------------------------------------|
| INSERT               | VALUES (...), (...), ...     | an executemany                     |
| UPDATE by one column | UPDATE FROM such a VALUES    | an executemany                     |
| compiled             | here, once (`prepared.py`)   | by SQLAlchemy, which remembers it  |
| executed             | by the driver (`Tx.direct`)  | by SQLAlchemy                      |

psycopg sends an executemany as one batch. For sqlite3 each of its rows is a step of a statement,
and at each step it lets go of the interpreter: under load another thread takes it every time, and
the writer waits to get it back. So there rows go in lists: up to 8 in one, more of them in lists
of 64, 32, ... 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import itemgetter
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
from gatewayd.store.prepared import Process, Row, binder, register

_LENGTHS: Final = (64, 32, 16, 8, 4, 2, 1)  # of a list; SQLite binds 32766 values in one statement
_SHORT: Final = 8  # so many rows are one list


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
    """A statement as the driver takes it, for one row, or for as many as are asked for.

    text: with one row, or two.
    order: of a row's values in it; None where it is that of the columns.
    processes: of a row's values, by place in that order.
    constants: what is the same each time, by place behind all rows.
    """

    text: str
    width: int
    order: Callable[[Row], Row] | None
    processes: tuple[tuple[int, Process], ...]
    constants: tuple[tuple[int, Any], ...]

    def bind(self, rows: Sequence[Row]) -> list[Any]:
        bound = list(chain.from_iterable(rows if self.order is None else map(self.order, rows)))
        for place, process in self.processes:
            bound[place :: self.width] = map(process, bound[place :: self.width])
        for place, value in self.constants:
            bound.insert(place, value)
        return bound

    def of(self, length: int) -> _Compiled:
        """From two rows to more: SQLAlchemy writes them all alike, one behind the other."""
        row = f"({', '.join('?' * self.width)})"
        before, found, after = self.text.partition(f"{row}, {row}")
        if not found or f"{row}, {row}" in after:
            raise ValueError(f"no two rows in {self.text}")
        more = (length - 2) * self.width
        return replace(
            self,
            text=before + ", ".join([row] * length) + after,
            constants=tuple((place + more, value) for place, value in self.constants),
        )


@dataclass(slots=True, eq=False)
class _Bulk:
    """Runs such a statement."""

    many: _Many
    _get: Callable[[Mapping[str, Any]], Row] = field(init=False)
    _compiled: dict[int, _Compiled] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._get = itemgetter(*self.many.columns)
        register(self)

    def run(self, tx: Tx, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows whose values are by name; nothing when there are none."""
        self.write(tx, [self._get(row) for row in rows])

    def write(self, tx: Tx, rows: Sequence[Row]) -> None:
        """Write rows whose values are in the order of the columns."""
        if not rows:
            return
        if tx.direct is None:
            names = [_name(column_name, 0) for column_name in self.many.columns]
            tx.execute(self.many.of(1), [dict(zip(names, row, strict=True)) for row in rows])
            return
        for some in (rows,) if len(rows) <= _SHORT else _lists(rows):
            statement = self._compiled.get(len(some))
            if statement is None:
                statement = self._compile(len(some), tx.connection.dialect)
            tx.direct(statement.text, statement.bind(some))

    def warm(self, language: Language) -> None:
        for length in (1, 2):
            self._compile(length, language)

    def _compile(self, length: int, language: Language) -> _Compiled:
        if length <= 2:  # what SQLAlchemy compiles: see `_Compiled.of`
            found = _compile(self.many, length, language)
        else:
            found = (self._compiled.get(2) or self._compile(2, language)).of(length)
        self._compiled[length] = found
        return found


def _compile(many: _Many, length: int, language: Language) -> _Compiled:
    compiled = many.of(length).compile(dialect=language)
    names = compiled.positiontup or ()
    in_first = {_name(column_name, 0): column_name for column_name in many.columns}
    first = [in_first[name] for name in names if name in in_first]
    bound = [_name(column_name, row) for row in range(length) for column_name in first]
    constants = [(at, compiled.params[name]) for at, name in enumerate(names) if name not in bound]
    if bound != [name for name in names if name in bound]:
        raise ValueError(f"rows are not bound one after the other: {compiled}")
    processes = (binder(many.table.c[column_name].type, language) for column_name in first)
    at = [many.columns.index(column_name) for column_name in first]
    return _Compiled(
        text=str(compiled),
        width=len(first),
        order=None if at == sorted(at) else itemgetter(*at),
        processes=tuple((place, one) for place, one in enumerate(processes) if one is not None),
        constants=tuple(constants),
    )


class BulkInsert(_Bulk):
    """INSERT of rows that all have a value for each of `columns`."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        super().__init__(_Insert(table, tuple(columns)))


class BulkUpdate(_Bulk):
    """UPDATE of rows by `key`, a column that is unique, or columns that are together.

    Args:
        columns: what each row has a new value for, beside the key.
        also: what is set alike in all: columns with their new values, or expressions.
    """

    def __init__(
        self,
        table: Table,
        key: str | tuple[str, ...],
        columns: Sequence[str],
        *,
        also: Mapping[str, ColumnElement[Any] | str] | None = None,
    ) -> None:
        keys = (key,) if isinstance(key, str) else key
        super().__init__(_Update(table, keys, (*keys, *columns), also or {}))


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
    keys: tuple[str, ...]
    columns: tuple[str, ...]  # the first are the keys
    also: Mapping[str, ColumnElement[Any] | str]

    def of(self, length: int) -> Insert | Update:
        if length == 1:
            return self._by(dict(zip(self.columns, _bound(self, 0), strict=True)))
        kinds = (column(name, self.table.c[name].type) for name in self.columns)
        rows = values(*kinds, name="given").data([_bound(self, row) for row in range(length)])
        return self._by(dict(rows.cte("given").c.items()))

    def _by(self, given: Mapping[str, ColumnElement[Any]]) -> Update:
        new = {name: given[name] for name in self.columns if name not in self.keys}
        same = [self.table.c[key] == given[key] for key in self.keys]
        return update(self.table).where(*same).values({**new, **self.also})


def _bound(many: _Many, row: int) -> tuple[Any, ...]:
    return tuple(bindparam(_name(c, row), type_=many.table.c[c].type) for c in many.columns)


def _name(column_name: str, row: int) -> str:
    return f"{column_name}_{row}"


def _lists(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """All rows of many, in lists of known lengths."""
    at = 0
    for length in _LENGTHS:
        while len(rows) - at >= length:
            yield rows[at : at + length]
            at += length
