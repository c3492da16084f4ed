"""Long lists of values, in pieces that a statement can bind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

# SQLite binds 32766 values in one statement, PostgreSQL 65535.
BIND_LIMIT: Final = 10_000


def chunks(values: Sequence[T], size: int = BIND_LIMIT) -> Sequence[Sequence[T]]:
    if 0 < len(values) <= size:
        return (values,)
    return [values[start : start + size] for start in range(0, len(values), size)]
