"""spool.directory.BodyWriter: what is kept, where, and in which order it becomes durable."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.errors import StoreBroken, StoreError, StoreFull, StoreUnavailable
from gatewayd.mail.message import Body, SpooledBody
from gatewayd.spool.directory import BodyWriter, Spool
from gatewayd.spool.port import BodyWriterPort, SpoolPort
from gatewayd.spool.sync import Sync

LARGE = b"0123456789abcdef" * 20_000  # does not wait in memory for its end
MIDDLE = LARGE[:100_000]  # does, and is a file then


def files(directory: Path) -> list[Path]:
    """Everything that is kept or on its way."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def modes(directory: Path, wanted: Callable[[Path], bool]) -> set[int]:
    """The permissions of files or directories below this one."""
    return {stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*") if wanted(path)}


async def kept(spool: Spool, octets: bytes, memory_octets: int = 65_536) -> Body:
    """The octets, written and finished."""
    writer = spool.incoming(memory_octets)
    writer.write(octets)
    return await writer.finish()


def test_spool_is_what_the_port_asks_for(spool: Spool) -> None:
    """Checked by mypy: the class has the protocol's shape."""
    port: SpoolPort = spool
    writer: BodyWriterPort = port.incoming()

    assert isinstance(writer, BodyWriter)


async def test_small_body_stays_in_memory(spool: Spool, directory: Path) -> None:
    """Up to the limit no file is made."""
    body = await kept(spool, b"x" * 65_536)

    assert body == b"x" * 65_536
    assert files(directory) == []


async def test_empty_body_is_no_octets(spool: Spool) -> None:
    """A message may have no body."""
    assert await spool.incoming().finish() == b""


async def test_large_body_is_a_file_under_its_key(spool: Spool, directory: Path) -> None:
    """One octet over the limit is in a file, with the facts about it."""
    octets = b"x" * 65_537

    body = await kept(spool, octets)

    assert isinstance(body, SpooledBody)
    assert files(directory) == [directory / body.key[:2] / body.key]
    assert files(directory)[0].read_bytes() == octets
    assert body == SpooledBody(
        key=body.key,
        size_octets=65_537,
        sha256=hashlib.sha256(octets).hexdigest(),
        has_8bit=False,
    )


async def test_file_is_for_its_owner_only(spool: Spool, directory: Path) -> None:
    """Files 0600, directories 0700, whatever the umask."""
    before = os.umask(0)
    try:
        await kept(spool, LARGE)
        unfinished = spool.incoming()
        unfinished.write(LARGE)
        again = Spool(directory.with_name("again"))
    finally:
        os.umask(before)

    assert isinstance(again, Spool)
    assert len(files(directory)) == 2
    assert modes(directory, Path.is_file) == {0o600}
    assert modes(directory, Path.is_dir) == {0o700}
    assert modes(directory.with_name("again"), Path.is_dir) == {0o700}
    unfinished.discard()


@pytest.mark.slow
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(blocks=st.lists(st.binary(max_size=40), max_size=12), memory_octets=st.integers(0, 120))
async def test_any_blocks_read_back(
    spool: Spool, directory: Path, blocks: list[bytes], memory_octets: int
) -> None:
    """Octets and facts are those of the whole, however it is split and wherever it spills."""
    octets = b"".join(blocks)
    writer = spool.incoming(memory_octets)
    for block in blocks:
        writer.write(block)
        assert writer.held_octets <= 4 * memory_octets

    body = await writer.finish()

    assert writer.size_octets == len(octets)
    assert b"".join(spool.blocks(body, 7)) == octets
    await spool.check(body)
    assert isinstance(body, SpooledBody) == (len(octets) > memory_octets)
    if isinstance(body, SpooledBody):
        assert body.size_octets == len(octets)
        assert body.has_8bit != octets.isascii()
        spool.delete(body.key)
    assert files(directory) == []


@pytest.mark.parametrize("octets", [MIDDLE, LARGE], ids=["middle", "large"])
async def test_order_of_finish_survives_a_power_loss(
    octets: bytes, spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File fsync, rename, fsync of the directory, and only then the body is handed out."""
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def spy_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        size = path.stat().st_size if path.is_file() else 0
        steps.append(f"fsync {path.relative_to(directory)} {size}")
        fsync(descriptor)

    def spy_rename(path: Path, target: Path) -> Path:
        steps.append(f"rename {path.relative_to(directory)} {target.relative_to(directory)}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "rename", spy_rename)

    body = await kept(spool, octets)

    assert isinstance(body, SpooledBody)
    key, bucket = body.key, body.key[:2]
    assert steps == [
        f"fsync incoming/{key}.tmp {len(octets)}",
        f"rename incoming/{key}.tmp {bucket}/{key}",
        f"fsync {bucket} 0",
    ]


async def test_discard_removes_the_file(spool: Spool, directory: Path) -> None:
    """Once, twice, and before anything was written."""
    writer = spool.incoming()
    writer.write(LARGE)
    assert len(files(directory)) == 1

    writer.discard()
    writer.discard()
    spool.incoming().discard()

    assert files(directory) == []
    assert writer.held_octets == 0


async def test_discard_after_finish_keeps_the_file(spool: Spool, directory: Path) -> None:
    """A door may discard whatever happened."""
    writer = spool.incoming()
    writer.write(LARGE)
    await writer.finish()

    writer.discard()

    assert len(files(directory)) == 1


async def test_ended_body_takes_nothing_more(spool: Spool) -> None:
    """A fault of ours, which must not pass in silence."""
    finished, discarded = spool.incoming(), spool.incoming()
    await finished.finish()
    discarded.discard()

    for writer in (finished, discarded):
        with pytest.raises(AssertionError):
            writer.write(b"x")
        with pytest.raises(AssertionError):
            await writer.finish()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spool files are /dev/full: the kernel answers ENOSPC to every write."""
    really_open = os.open

    def open_full(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith(".tmp"):
            return really_open("/dev/full", os.O_WRONLY)
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", open_full)


@pytest.mark.usefixtures("full_disk")
def test_full_disk_while_writing_is_store_full(spool: Spool) -> None:
    """The writer has ended, and holds nothing."""
    writer = spool.incoming()

    with pytest.raises(StoreFull):
        writer.write(LARGE)

    assert writer.held_octets == 0
    writer.discard()


@pytest.mark.usefixtures("full_disk")
async def test_full_disk_while_finishing_is_store_full(spool: Spool) -> None:
    """What waited in memory does not fit."""
    writer = spool.incoming()
    writer.write(MIDDLE)

    with pytest.raises(StoreFull):
        await writer.finish()


def failing(number: int) -> Callable[..., None]:
    """A system call that fails."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EIO, StoreBroken),
        (errno.EINVAL, StoreBroken),
    ],
)
@pytest.mark.parametrize("octets", [MIDDLE, LARGE], ids=["middle", "large"])
async def test_failed_fsync_is_never_tried_again(
    number: int,
    raised: type[StoreError],
    octets: bytes,
    spool: Spool,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a failed fsync the octets are gone, and nothing says so a second time."""
    writer = spool.incoming()
    writer.write(octets)
    monkeypatch.setattr(os, "fsync", failing(number))

    with pytest.raises(raised):
        await writer.finish()

    assert files(directory) == []


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EIO, StoreBroken),
        (errno.EROFS, StoreBroken),
        (errno.EMFILE, StoreUnavailable),
        (errno.ENOENT, StoreUnavailable),
    ],
)
def test_file_that_cannot_be_made_is_a_store_error(
    number: int, raised: type[StoreError], spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row of the module's table each."""
    monkeypatch.setattr(os, "open", failing(number))

    with pytest.raises(raised):
        spool.incoming().write(LARGE)


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.ENOSPC, StoreFull), (errno.EIO, StoreBroken)]
)
async def test_file_that_cannot_be_made_at_the_end_is_a_store_error(
    number: int, raised: type[StoreError], spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that waited in memory is refused at its end, and nothing is left."""
    writer = spool.incoming()
    writer.write(MIDDLE)
    monkeypatch.setattr(os, "open", failing(number))

    with pytest.raises(raised):
        await writer.finish()


async def test_those_who_finish_together_share_an_fsync(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are: one for those who came before it began, one for the others."""
    monkeypatch.setattr("gatewayd.spool.directory._TOGETHER_S", 1e9)
    fsync, synced = os.fsync, 0
    first = threading.Event()
    others = threading.Semaphore(0)

    def spy(descriptor: int) -> None:
        nonlocal synced
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            synced += 1
            if synced == 1:
                first.set()
                for _ in range(7):  # until the others have their names, and wait
                    others.acquire()
        fsync(descriptor)

    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        found = rename(path, target)
        if first.is_set():
            others.release()
        return found

    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(Path, "rename", renamed)
    async with asyncio.TaskGroup() as group:
        group.create_task(kept(spool, MIDDLE))
        await asyncio.to_thread(first.wait, 30)
        for _ in range(7):
            group.create_task(kept(spool, MIDDLE))

    assert len(files(directory)) == 8
    assert 2 <= synced <= 3  # one may have its name and not have asked yet when the first ends


def _wait(sync: Sync) -> None:
    """Return when the names are durable, or raise what kept them from it."""
    ended: Future[BaseException | None] = Future()
    sync.ask(ended.set_result)
    error = ended.result(30)
    if error is not None:
        raise error


def test_directory_that_failed_is_never_trusted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of a failure once; who comes later must not hear that all is well."""
    sync = Sync(tmp_path)
    with monkeypatch.context() as once:
        once.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(StoreBroken):
            _wait(sync)

    with pytest.raises(StoreBroken):
        _wait(sync)


def test_directory_without_space_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space comes back."""
    sync = Sync(tmp_path)
    with monkeypatch.context() as once:
        once.setattr(os, "fsync", failing(errno.ENOSPC))
        with pytest.raises(OSError, match="No space"):
            _wait(sync)

    _wait(sync)


def test_failure_of_a_shared_fsync_is_everybodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody who waited for it is told that its file is safe."""
    sync = Sync(tmp_path)
    begun, go_on = threading.Event(), threading.Event()
    calls = 0

    def fail(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            begun.set()
            go_on.wait(30)
            return
        raise OSError(errno.EIO, "gone")

    monkeypatch.setattr(os, "fsync", fail)
    with ThreadPoolExecutor(4) as threads:
        leader = threads.submit(_wait, sync)
        begun.wait(30)
        others = [threads.submit(_wait, sync) for _ in range(3)]
        while len(sync._waiting) < 3:
            threading.Event().wait(0.001)
        go_on.set()

        leader.result()
        for each in others:
            with pytest.raises(StoreBroken):
                each.result()
    assert calls == 2


def test_who_asks_while_an_fsync_runs_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that is at it goes on for those who asked meanwhile, and tells them."""
    sync = Sync(tmp_path)
    told: list[tuple[str, BaseException | None]] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: int) -> None:
        begun.set()
        assert go_on.wait(30)

    monkeypatch.setattr(os, "fsync", slow)
    with ThreadPoolExecutor(1) as threads:
        leader = threads.submit(sync.ask, lambda error: told.append(("first", error)))
        assert begun.wait(30)
        sync.ask(lambda error: told.append(("second", error)))
        assert told == []
        go_on.set()
        leader.result()

    assert told == [("first", None), ("second", None)]


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.EIO, StoreBroken), (errno.ENOSPC, StoreFull)]
)
async def test_finish_when_its_name_is_not_durable_says_so(
    number: int, raised: type[StoreError], spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The octets are on the disk, but a crash might forget where."""
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(raised):
        await kept(spool, MIDDLE)
