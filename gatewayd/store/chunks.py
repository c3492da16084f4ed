"""Long lists of values, in pieces that a statement can bind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

# SQLite binds 32766 values in one statement, PostgreSQL 65535.
BIND_LIMIT: Final = 10_000


def chunks(values: Sequence[T], size: int = BIND_LIMIT) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
