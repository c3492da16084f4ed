"""Column types that read back equal on both databases.

Both say themselves how a value is bound and read: by way of `process_bind_param`, which is there
for that, each value of each row costs a call more.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, Integer, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode

# SQLite counts rows up only where the type is spelled INTEGER.
Sequence = BigInteger().with_variant(Integer, "sqlite")


class Instant(TypeDecorator[dt.datetime]):
    """An aware UTC datetime, kept as microseconds since 1970: exact, short and ordered."""

    impl = BigInteger
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[dt.datetime | None], int | None]:  # noqa: ARG002 - SQLAlchemy's signature
        return _microseconds

    def result_processor(
        self,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
        coltype: object,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> Callable[[int | None], dt.datetime | None]:
        return _instant


class Json(TypeDecorator[Any]):
    """A JSON value, kept as text: no database parses it, so none can change it."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:  # noqa: ARG002 - SQLAlchemy's signature
        return _written

    def result_processor(
        self,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
        coltype: object,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> Callable[[str | None], Any]:
        return _read


def _microseconds(value: dt.datetime | None) -> int | None:
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def _instant(value: int | None) -> dt.datetime | None:
    return None if value is None else _EPOCH + dt.timedelta(microseconds=value)


def _written(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if value == []:  # tags and metadata of most messages
        return "[]"
    if value == {}:
        return "{}"
    return None if value is None else _encode(value)


def _read(value: str | None) -> Any:  # noqa: ANN401 - any JSON value
    if value == "[]":
        return []
    if value == "{}":
        return {}
    return None if value is None else json.loads(value)
