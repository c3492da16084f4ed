"""ids: unique, in order, and cheap."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
import uuid

import pytest

from gatewayd import ids

NOW = dt.datetime(2026, 11, 21, 8, 0, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def nothing_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a start."""
    monkeypatch.setattr(ids, "_drawn", [])
    monkeypatch.setattr(ids, "_last", 0)


def test_an_id_is_a_uuid_of_version_7_with_its_time() -> None:
    """(RFC 9562 5.7)."""
    found = uuid.UUID(ids.uuid7(NOW))

    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == int(NOW.timestamp() * 1000)


def test_ids_of_one_instant_sort_as_they_were_made() -> None:
    """So a list by id is a list by time."""
    made = [ids.uuid7(NOW) for _ in range(3000)]

    assert sorted(set(made)) == made


def test_the_system_is_asked_once_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time another thread may take the interpreter's lock."""
    asked: list[int] = []

    def token_bytes(count: int) -> bytes:
        asked.append(count)
        return drawn(count)

    drawn = secrets.token_bytes
    monkeypatch.setattr(secrets, "token_bytes", token_bytes)

    for _ in range(2 * ids._AT_ONCE):
        ids.uuid7(NOW)

    assert asked == [10 * ids._AT_ONCE] * 2


def test_no_random_bits_are_given_twice() -> None:
    """Threads draw from one heap."""
    drawn: list[list[int]] = [[] for _ in range(4)]

    def draw(into: list[int]) -> None:
        into.extend(ids._draw() for _ in range(3000))

    threads = [threading.Thread(target=draw, args=(each,)) for each in drawn]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    every = [bits for each in drawn for bits in each]
    assert len(set(every)) == len(every) == 12_000
    assert max(every) < 1 << 80
