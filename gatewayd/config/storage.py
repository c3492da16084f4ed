"""Sections about what is kept: database, storage, retention."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import AfterValidator, Field, Strict

from gatewayd.config.types import Count, File, Octets, Seconds, Section

SQLITE = "sqlite"
DAY_S: Final = 86_400


def _url(value: str) -> str:
    if value == SQLITE:
        return value
    url = urlsplit(value)
    if url.scheme not in ("postgresql", "postgres"):
        raise ValueError('"sqlite" or "postgresql://user@host:5432/database"')
    if url.password is not None:
        raise ValueError("no password in the address: put it in a file, database.password_file")
    if len(url.path) < 2:
        raise ValueError('the name of a database at the end: "postgresql://user@host:5432/mail"')
    return value


AtLeastADay = Annotated[float, Strict(), Ge(DAY_S), Le(1e9)]
DatabaseUrl = Annotated[str, Strict(), AfterValidator(_url)]


class DatabaseSection(Section):
    """`[database]`: where messages, queue, tokens and events are kept."""

    url: DatabaseUrl = Field(
        default=SQLITE,
        description='"sqlite" for gatewayd.db in state_dir, or postgresql://user@host:port/db.',
    )
    password_file: File | None = Field(
        default=None,
        description="File of mode 0600 with PostgreSQL's password; or credential:NAME.",
    )
    readers: Count = Field(
        default=2, description="SQLite: connections that read beside the one that writes."
    )
    connections: Count = Field(default=8, description="PostgreSQL: connections at most.")
    busy_s: Seconds = Field(
        default=5, description="Wait for a database that another process has locked."
    )
    reader_s: Seconds = Field(default=30, description="Longest single read before it is cut.")

    @property
    def is_sqlite(self) -> bool:
        return self.url == SQLITE


class StorageSection(Section):
    """`[storage]`: the space that is never used up."""

    min_free_octets: Octets = Field(
        default=1_073_741_824,
        description="New mail is refused below this, or below 5% of the disk if that is less.",
    )
    reserve_octets: Octets = Field(
        default=16_777_216,
        description="File that is given up on a full disk, so that outcomes can be recorded.",
    )


class RetentionSection(Section):
    """`[retention]`: how long finished things are kept."""

    messages_s: Seconds = Field(
        default=3_024_000,
        description="Messages whose every recipient is settled, from acceptance.",
    )
    idempotency_s: AtLeastADay = Field(
        default=DAY_S, description="Answers to idempotency keys; at least a day."
    )
