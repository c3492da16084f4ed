"""spool.directory.Spool: reading, checking, deleting, sweeping."""

from __future__ import annotations

import datetime as dt
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gatewayd.errors import SpoolDamaged, StoreBroken, StoreUnavailable
from gatewayd.mail.message import SpooledBody
from gatewayd.spool.directory import Spool

LARGE = bytes(range(256)) * 1200
NOW = dt.datetime(2026, 11, 21, 9, 30, tzinfo=dt.UTC)


async def kept(spool: Spool, octets: bytes = LARGE) -> SpooledBody:
    """A body in a file."""
    writer = spool.incoming(memory_octets=0)
    writer.write(octets)
    body = await writer.finish()
    assert isinstance(body, SpooledBody)
    return body


def file_of(directory: Path, body: SpooledBody) -> Path:
    """Where it lies."""
    return directory / body.key[:2] / body.key


def test_opening_makes_every_directory(directory: Path) -> None:
    """Twice is as good as once."""
    Spool(directory)
    Spool(directory)

    assert len(list(directory.iterdir())) == 257


def test_directory_that_cannot_be_made_is_store_unavailable(tmp_path: Path) -> None:
    """Such as a file in its place."""
    (tmp_path / "spool").write_bytes(b"")

    with pytest.raises(StoreUnavailable):
        Spool(tmp_path / "spool")


@pytest.mark.parametrize("octets", [b"", b"x", b"xy", b"x" * 7])
def test_blocks_of_octets_in_memory(spool: Spool, octets: bytes) -> None:
    """Small bodies pass through the same method."""
    blocks = list(spool.blocks(octets, 2))

    assert b"".join(blocks) == octets
    assert all(len(block) == 2 for block in blocks[:-1])


async def test_blocks_of_a_file(spool: Spool) -> None:
    """Blocks have the size that was asked for, and the body can be read again."""
    body = await kept(spool)

    sizes = [len(block) for block in spool.blocks(body, 65_536)]
    assert sizes == [65_536] * 4 + [len(LARGE) - 4 * 65_536]
    assert b"".join(spool.blocks(body)) == LARGE


async def test_check_passes_what_was_accepted(spool: Spool) -> None:
    """In memory and in a file."""
    await spool.check(b"anything")
    await spool.check(await kept(spool))


def remove(file: Path) -> None:
    """Lose it."""
    file.unlink()


def shorten(file: Path) -> None:
    """Lose the last octet."""
    os.truncate(file, len(LARGE) - 1)


def lengthen(file: Path) -> None:
    """Add an octet."""
    file.write_bytes(LARGE + b"x")


def empty(file: Path) -> None:
    """What some file systems leave after a power loss."""
    file.write_bytes(b"")


def flip(file: Path) -> None:
    """Change one bit."""
    file.write_bytes(LARGE[:-1] + bytes([LARGE[-1] ^ 1]))


@pytest.mark.parametrize("damage", [remove, shorten, lengthen, empty, flip])
async def test_damaged_file_is_found_before_it_is_sent(
    damage: Callable[[Path], None], spool: Spool, directory: Path
) -> None:
    """Missing, shorter, longer or changed."""
    body = await kept(spool)
    damage(file_of(directory, body))

    with pytest.raises(SpoolDamaged, match=body.key):
        await spool.check(body)


@pytest.mark.parametrize("damage", [remove, shorten, lengthen, empty])
async def test_file_of_another_size_ends_the_reading(
    damage: Callable[[Path], None], spool: Spool, directory: Path
) -> None:
    """Also when it changed after the check, so that no dot follows."""
    body = await kept(spool)
    damage(file_of(directory, body))

    with pytest.raises(SpoolDamaged, match=body.key):
        list(spool.blocks(body))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "../../etc/passwd",
        "incoming/../../x",
        "%2e%2e/x",
        "0" * 300,
        "A0000000-0000-4000-8000-000000000000",
        "a0000000-0000-4000-8000-000000000000\n",
        "a0000000-0000-4000-8000-000000000000\0",
        "a0000000-0000-7000-8000-000000000000",
    ],
)
async def test_key_that_is_no_name_of_ours_opens_nothing(spool: Spool, key: str) -> None:
    """A key comes from the database, and is not trusted for that."""
    body = SpooledBody(key=key, size_octets=1, sha256="", has_8bit=False)

    with pytest.raises(SpoolDamaged):
        await spool.check(body)
    with pytest.raises(SpoolDamaged):
        spool.delete(key)


async def test_device_error_while_reading_is_store_broken(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the message that is wrong."""
    body = await kept(spool)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "open", fail)

    with pytest.raises(StoreBroken):
        await spool.check(body)


async def test_delete_removes_the_file(spool: Spool, directory: Path) -> None:
    """Twice is no error."""
    body = await kept(spool)

    spool.delete(body.key)
    spool.delete(body.key)

    assert not file_of(directory, body).exists()


async def test_sweep_at_start_keeps_what_has_a_row(spool: Spool, directory: Path) -> None:
    """Temporary files and orphans go, whatever their age."""
    with_row, orphan = await kept(spool), await kept(spool)
    unfinished = spool.incoming()
    unfinished.write(LARGE)

    removed = spool.sweep(lambda keys: {with_row.key} & set(keys), older_than=None)

    assert removed == 2
    assert file_of(directory, with_row).exists()
    assert not file_of(directory, orphan).exists()
    assert not list((directory / "incoming").iterdir())
    unfinished.discard()


async def test_sweep_while_running_leaves_the_young(spool: Spool, directory: Path) -> None:
    """A submission that is not committed yet is no orphan."""
    young, old = await kept(spool), await kept(spool)
    writing, abandoned = spool.incoming(), spool.incoming()
    writing.write(LARGE)
    young_files = {*(directory / "incoming").iterdir(), file_of(directory, young)}
    abandoned.write(LARGE)
    old_files = {*(directory / "incoming").iterdir(), file_of(directory, old)} - young_files
    hour_ago = NOW - dt.timedelta(hours=1)
    for file in young_files:
        os.utime(file, times=(NOW.timestamp(), NOW.timestamp()))
    for file in old_files:
        os.utime(file, times=(hour_ago.timestamp() - 1, hour_ago.timestamp() - 1))

    removed = spool.sweep(lambda _: set(), older_than=hour_ago)

    assert removed == 2
    assert all(file.exists() for file in young_files)
    assert not any(file.exists() for file in old_files)
    writing.discard()
    abandoned.discard()


async def test_sweep_asks_for_bounded_sets_of_keys(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key once, never more in one question than a statement takes."""
    monkeypatch.setattr("gatewayd.spool.directory._SWEEP_KEYS", 2)
    keys = [f"a0000000-0000-4000-8000-00000000000{digit}" for digit in range(5)]
    for key in keys:
        (directory / "a0" / key).write_bytes(b"")
    asked: list[Sequence[str]] = []

    def referenced(some: Sequence[str]) -> set[str]:
        asked.append(some)
        return set(some)

    assert spool.sweep(referenced, older_than=None) == 0
    assert [len(some) for some in asked] == [2, 2, 1]
    assert sorted(key for some in asked for key in some) == keys


def test_sweep_leaves_files_that_are_not_ours(spool: Spool, directory: Path) -> None:
    """Nothing is removed for having a name we did not give."""
    strangers = [directory / "00" / "notes.txt", directory / "incoming" / "x.tmp"]
    for stranger in strangers:
        stranger.write_bytes(b"")

    assert spool.sweep(lambda _: set(), older_than=None) == 0
    assert all(stranger.exists() for stranger in strangers)


async def test_sweep_does_not_mind_a_file_that_goes_away(spool: Spool, directory: Path) -> None:
    """Intake may delete it at the same time."""
    body = await kept(spool)

    def referenced(keys: Sequence[str]) -> set[str]:
        file_of(directory, body).unlink()
        return set(keys) - {body.key}

    assert spool.sweep(referenced, older_than=None) == 0


def test_free_octets_is_what_the_file_system_says(spool: Spool, directory: Path) -> None:
    """Without the share that is reserved for root."""
    space = os.statvfs(directory)

    assert 0 < spool.free_octets() <= space.f_blocks * space.f_frsize


async def test_sha256_is_compared_not_only_the_size(spool: Spool) -> None:
    """A row that belongs to another file is damage too."""
    first, second = await kept(spool, b"a" * 100), await kept(spool, b"b" * 100)

    with pytest.raises(SpoolDamaged, match="SHA-256"):
        await spool.check(replace(first, key=second.key))
