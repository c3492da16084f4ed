"""Prepared: a statement that mail waits for, compiled once and executed by the driver.

|           | SQLite                                           | PostgreSQL                     |
|-----------|--------------------------------------------------|--------------------------------|
| compiled  | here; by `warm` before the first message         | by SQLAlchemy, which finds it  |
|           |                                                  | again for each execution       |
| lists     | filled up with their last value to a few lengths | as long as they are            |
| executed  | by the driver (`Tx.direct`)                      | by SQLAlchemy                  |

Values are bound and read by the types of their columns, in both ways. A set holds a few messages,
and then it is not the rows that cost: SQLAlchemy takes 40 microseconds to execute a SELECT for
which SQLite takes 3. All other statements are executed as they are written.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final, Generic, Protocol, TypeVar

from sqlalchemy import Boolean, Delete, LargeBinary, Select, Update
from sqlalchemy.engine import Dialect as Language
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from gatewayd.store.database import Tx

Process = Callable[[Any], Any]  # of a value
Row = Sequence[Any]
T = TypeVar("T")

_EXACT: Final = 8  # up to here a list of each length has its statement
_LONGEST: Final = 16_384  # that is filled up; SQLite binds 32766 values in one statement


class Warmed(Protocol):
    """A statement that can be compiled before it is needed."""

    def warm(self, language: Language) -> None: ...


_PREPARED: Final[list[Warmed]] = []


def register(statement: Warmed) -> None:
    """Have a statement of a module compiled by `warm`."""
    _PREPARED.append(statement)


def warm(tx: Tx) -> None:
    """Compile what is prepared, so that no message waits for it."""
    if tx.direct is not None:
        for statement in _PREPARED:
            statement.warm(tx.connection.dialect)


class Prepared:
    """A SELECT, UPDATE or DELETE; of its bound values those that expand are lists."""

    def __init__(self, statement: Select[Any] | Update | Delete) -> None:
        self._statement = statement
        self._compiled: _Compiled | None = None
        register(self)

    def run(self, tx: Tx, values: Mapping[str, Any]) -> Sequence[Row]:
        """Execute it; the rows of a SELECT. No list may be empty."""
        if tx.direct is None:
            found = tx.execute(self._statement, dict(values))
            return found.all() if found.returns_rows else ()
        compiled = self._compiled or self._compile(tx.connection.dialect)
        text, bound = compiled.bind(values)
        rows = tx.direct(text, bound)
        return [_read(row, compiled.results) for row in rows] if compiled.results else rows

    def warm(self, language: Language) -> None:
        if self._compiled is None:
            self._compile(language)

    def _compile(self, language: Language) -> _Compiled:
        compiled = self._compiled = _compile(self._statement, language)
        return compiled


class PreparedRows(Prepared, Generic[T]):
    """A SELECT that has the fields of a dataclass, in their order.

    remembered: of so many rows what was made of them is kept. For small tables that every set asks
        for the same: most of what that costs is the making. It is the row as it stands now that is
        asked for, so what is kept is never behind.
    """

    def __init__(self, statement: Select[Any], kind: type[T], *, remembered: int = 0) -> None:
        super().__init__(statement)
        self._make = maker(kind)
        self._recall = functools.lru_cache(remembered)(self._made_of) if remembered else None

    def made(self, tx: Tx, values: Mapping[str, Any]) -> list[T]:
        """What `run` finds, as dataclasses."""
        if self._recall is None or tx.direct is None:
            return [self._make(row) for row in self.run(tx, values)]
        compiled = self._compiled or self._compile(tx.connection.dialect)
        return [self._recall(row) for row in tx.direct(*compiled.bind(values))]

    def _made_of(self, row: tuple[Any, ...]) -> T:
        """A dataclass of the values that the driver has found."""
        return self._make(_read(row, self._compiled.results) if self._compiled else row)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as the driver takes it.

    places: for each value in turn its name and process, and whether it is a list.
    constants: the values that are in the statement.
    results: the processes of columns, by place.
    """

    statement: SQLCompiler
    places: tuple[tuple[str, Process | None, bool], ...]
    constants: Mapping[str, Any]
    results: tuple[tuple[int, Process], ...]
    _texts: dict[tuple[int, ...], str] = field(default_factory=dict)

    def bind(self, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """The text for lists of these lengths, and what is bound."""
        bound: list[Any] = []
        lengths: list[int] = []
        for name, process, is_list in self.places:
            value = values[name] if name in values else self.constants[name]
            if is_list:
                filled = _filled(value)
                lengths.append(len(filled))
                bound += filled if process is None else map(process, filled)
            else:
                bound.append(value if process is None else process(value))
        of = tuple(lengths)
        return self._texts.get(of) or self._write(of), bound

    def _write(self, lengths: tuple[int, ...]) -> str:
        of = iter(lengths)
        given = {
            name: [None] * next(of) if is_list else self.constants.get(name)
            for name, _, is_list in self.places
        }
        text = self._texts[lengths] = self.statement.construct_expanded_state(given).statement
        return text


def _compile(statement: Select[Any] | Update | Delete, language: Language) -> _Compiled:
    compiled = statement.compile(dialect=language)
    columns = statement.selected_columns if isinstance(statement, Select) else ()
    processes = [reader(column.type, language) for column in columns]
    return _Compiled(
        statement=compiled,
        places=tuple(
            (name, binder(compiled.binds[name].type, language), compiled.binds[name].expanding)
            for name in compiled.positiontup or ()
        ),
        constants=compiled.params,
        results=tuple((place, one) for place, one in enumerate(processes) if one is not None),
    )


def binder(kind: TypeEngine[Any], language: Language) -> Process | None:
    """What makes a value the driver's; None where it takes the value as it is."""
    if isinstance(kind, Boolean | LargeBinary):
        return None
    return kind.dialect_impl(language).bind_processor(language)


def reader(kind: TypeEngine[Any], language: Language) -> Process | None:
    """What makes a value of the driver ours; None where it is."""
    if isinstance(kind, LargeBinary):
        return None
    return kind.dialect_impl(language).result_processor(language, None)


def maker(kind: type[T]) -> Callable[[Row], T]:
    """Makes a frozen dataclass of the values of its fields, in order.

    By the slots themselves: its `__init__` sets each by way of `object`, and takes three times as
    long, which is most of what it costs to read a row.
    """
    setters = [getattr(kind, name).__set__ for name in kind.__slots__]  # type: ignore[attr-defined]
    new = object.__new__

    def make(row: Row) -> T:
        made = new(kind)
        for put, value in zip(setters, row, strict=True):
            put(made, value)
        return made

    return make


def _read(row: Row, processes: tuple[tuple[int, Process], ...]) -> Row:
    values = list(row)
    for place, process in processes:
        values[place] = process(values[place])
    return values


def _filled(values: Sequence[Any]) -> Sequence[Any]:
    """A list with its last value repeated, which no IN minds: so there are few statements."""
    length = len(values)
    if length <= _EXACT or length > _LONGEST:
        return values
    return [*values, *repeat(values[-1], (1 << (length - 1).bit_length()) - length)]
