"""Spool in a directory: write, fsync, rename, fsync directory.

All that waits for the disk is done on threads of the spool. A body that is not large reaches them
whole, so the file is not even made on the loop, where a file system that is busy with its journal
would hold up everybody.

```
<directory>/incoming/<uuid>.tmp    being written, mode 0600
<directory>/<2 hex>/<uuid>         finished and durable; <2 hex> are the first two of the name
```

One fsync of a directory is enough for all files that were renamed into it before, so those of the
same moment go into the same directory, and who comes while an fsync runs shares the next one
(`sync.py`). That the name in `incoming` is gone need not be durable: `sweep` removes it. (A rename
between directories is one step on a file system with a journal, and the spool must be on one.)

Each call to the system gives up the interpreter, and on a busy one it is two switches of threads
to get it back. So a body that was taken in a moment ago stays in memory for who asks first, within
`recent_octets`: to read its file back would be seven calls, and its octets were never away.

All 256 directories are made, and fsynced, when the spool is opened: otherwise a file could be
durable in a directory that is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import os
import re
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Final

from gatewayd.errors import SpoolDamaged, StoreError
from gatewayd.mail.message import Body, SpooledBody
from gatewayd.spool.disk import disk_errors, mapped
from gatewayd.spool.incoming import IncomingFile
from gatewayd.spool.port import BLOCK_OCTETS, HELD_FACTOR, MEMORY_OCTETS
from gatewayd.spool.recent import Recent
from gatewayd.spool.sync import Sync, sync_directory

_INCOMING: Final = "incoming"
_BUCKETS: Final = tuple(f"{number:02x}" for number in range(256))
_KEY: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SWEEP_KEYS: Final = 500  # in one question about rows
_THREADS: Final = 32  # that wait for the disk
_TOGETHER_S: Final = 0.25  # files of so long go into one directory
_SMALL_OCTETS: Final = 4096  # of a block
_WRITING: Final = "write a spool file"


class Spool:
    """Bodies as files below one directory, which is made when it is not there.

    One process may use a directory at a time. Methods may be called on any thread; `check` and
    `BodyWriter.finish` take one of their own for what waits for the disk.

    Args:
        directory: where the files lie.
        recent_octets: how much of what was taken in last stays in memory too.

    Raises:
        StoreError: the directories cannot be made.
    """

    def __init__(self, directory: Path, *, recent_octets: int = 0) -> None:
        self._directory = directory
        self._incoming = directory / _INCOMING
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="spool")
        self._recent = Recent(recent_octets)
        self._syncs = {bucket: Sync(directory / bucket) for bucket in _BUCKETS}
        with disk_errors("open the spool"):
            self._make_directories()

    def incoming(self, memory_octets: int = MEMORY_OCTETS) -> BodyWriter:
        return BodyWriter(self, memory_octets)

    async def keep(self, file: IncomingFile | None, octets: bytes) -> IncomingFile:
        """Write the rest of a file, or all of it, and make it durable under its key.

        Raises:
            StoreError: it could not be; the file is dropped.
        """
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[IncomingFile] = loop.create_future()
        self._threads.submit(self._keep, file, octets, partial(_tell, loop, kept))
        made = await kept
        if file is None:
            self._recent.add(made.key, octets)
        return made

    def make_file(self) -> IncomingFile:
        """A new file, for a body on its way in. Nothing is on the disk yet."""
        number = int(time.monotonic() / _TOGETHER_S) % len(_BUCKETS)
        random = bytes((number,)) + secrets.token_bytes(15)
        key = str(uuid.UUID(bytes=random, version=4))
        return IncomingFile(key, self._incoming / f"{key}.tmp", _path(self._directory, key))

    async def check(self, body: Body) -> None:
        if isinstance(body, SpooledBody):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._check, body)

    def close(self) -> None:
        """End the threads, when what they are at is done."""
        self._threads.shutdown()

    def blocks(self, body: Body, size: int = BLOCK_OCTETS) -> Iterator[bytes]:
        if isinstance(body, bytes):
            yield from (body[start : start + size] for start in range(0, len(body), size))
            return
        recent = self._recent.take(body.key)
        if recent is not None:
            yield recent
            return
        yield from self._read_blocks(body, size)

    def _read_blocks(self, body: SpooledBody, size: int) -> Iterator[bytes]:
        left = body.size_octets
        with _open(_path(self._directory, body.key)) as file:
            while block := _read(file, size):
                left -= len(block)
                if left < 0:
                    break
                yield block
        if left != 0:
            raise SpoolDamaged(f"spool file {body.key} is not {body.size_octets} octets long")

    def delete(self, key: str) -> None:
        self._recent.take(key)
        with disk_errors("delete a spool file"):
            _path(self._directory, key).unlink(missing_ok=True)

    def sweep(
        self, referenced: Callable[[Sequence[str]], set[str]], older_than: dt.datetime | None
    ) -> int:
        before = older_than.timestamp() if older_than is not None else None
        with disk_errors("sweep the spool"):
            removed = sum(map(_remove, _old_files(self._incoming, before)))
            for bucket in _BUCKETS:
                files = _old_files(self._directory / bucket, before)
                for start in range(0, len(files), _SWEEP_KEYS):
                    some = files[start : start + _SWEEP_KEYS]
                    known = referenced([file.name for file in some])
                    removed += sum(_remove(file) for file in some if file.name not in known)
        return removed

    def free_octets(self) -> int:
        """Space that an unprivileged process may still use."""
        with disk_errors("ask for free space"):
            space = os.statvfs(self._directory)
        return space.f_bavail * space.f_frsize

    def _make_directories(self) -> None:
        if not self._directory.is_dir():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(self._directory.parent)
        there = {entry.name for entry in self._directory.iterdir()}
        for name in (_INCOMING, *_BUCKETS):
            if name not in there:
                (self._directory / name).mkdir(mode=0o700)
        # Also when none was missing: who made them may have been killed before this line.
        sync_directory(self._directory)

    def _keep(self, file: IncomingFile | None, octets: bytes, tell: _Told) -> None:
        """Does not wait for the directory: who makes it durable tells for all."""
        try:
            file = file or self.make_file()
            with disk_errors(_WRITING):
                file.write(octets)
                file.end()
        except BaseException as error:  # noqa: BLE001 - who waits for it is told
            if file is not None:
                file.drop()
            tell(error)
        else:
            self._syncs[file.key[:2]].ask(partial(_named, file, tell))

    def _check(self, body: SpooledBody) -> None:
        digest = hashlib.sha256()
        for block in self._read_blocks(body, BLOCK_OCTETS):
            digest.update(block)
        if digest.hexdigest() != body.sha256:
            raise SpoolDamaged(f"spool file {body.key} has another SHA-256 than when accepted")


_Told = Callable[["IncomingFile | BaseException"], None]


class BodyWriter:
    """Takes one body; made by Spool.

    | octets                | while they come                 | are then |
    |-----------------------|---------------------------------|----------|
    | up to `memory_octets` | in memory                       | bytes    |
    | up to four times that | in memory                       | a file   |
    | more                  | in a file, written as they come | a file   |
    """

    def __init__(self, spool: Spool, memory_octets: int) -> None:
        self._spool = spool
        self._memory_octets = memory_octets
        self._memory: list[bytes | bytearray] = []
        self._held_octets = 0
        self._file: IncomingFile | None = None
        self._size_octets = 0
        self._is_ascii = True
        self._is_ended = False

    @property
    def size_octets(self) -> int:
        return self._size_octets

    @property
    def held_octets(self) -> int:
        return self._held_octets

    def write(self, block: bytes) -> None:
        self._refuse_if_ended()
        self._size_octets += len(block)
        self._is_ascii = self._is_ascii and block.isascii()
        self._hold(block)
        if self._size_octets <= self._memory_octets * HELD_FACTOR:
            return
        try:
            if self._file is None:
                self._file = self._spool.make_file()
            with disk_errors(_WRITING):
                self._file.write(self._take_held())
        except StoreError:
            self.discard()
            raise

    async def finish(self) -> Body:
        self._refuse_if_ended()
        self._is_ended = True
        octets = self._take_held()
        if self._file is None and self._size_octets <= self._memory_octets:
            return octets
        file = await self._spool.keep(self._file, octets)
        return SpooledBody(
            key=file.key,
            size_octets=self._size_octets,
            sha256=file.digest.hexdigest(),
            has_8bit=not self._is_ascii,
        )

    def discard(self) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._take_held()
        if self._file is not None:
            self._file.drop()

    def _hold(self, block: bytes) -> None:
        """Keep a block as it came. Small ones are put together: as objects they would be larger."""
        held = self._memory
        self._held_octets += len(block)
        if len(block) >= _SMALL_OCTETS or not held:
            held.append(block)
        elif isinstance(held[-1], bytearray):
            held[-1] += block
        else:
            held.append(bytearray(block))

    def _take_held(self) -> bytes:
        octets = b"".join(self._memory)
        self._memory.clear()
        self._held_octets = 0
        return octets

    def _refuse_if_ended(self) -> None:
        if self._is_ended:
            raise AssertionError("this body has ended")


def _path(directory: Path, key: str) -> Path:
    if not _KEY.fullmatch(key):
        raise SpoolDamaged(f"{key!r} is no name of a spool file")
    return directory / key[:2] / key


def _open(path: Path) -> FileIO:
    with disk_errors("open a spool file"):
        try:
            return path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise SpoolDamaged(f"spool file {path.name} is missing") from error


def _read(file: FileIO, size: int) -> bytes:
    with disk_errors("read a spool file"):
        return file.read(size)


def _old_files(directory: Path, before: float | None) -> list[Path]:
    """Files of ours that were last written before that time, or all of them."""
    files = [file for file in directory.iterdir() if _KEY.fullmatch(file.name.removesuffix(".tmp"))]
    return files if before is None else [file for file in files if _is_older(file, before)]


def _is_older(file: Path, before: float) -> bool:
    try:
        return file.lstat().st_mtime < before
    except FileNotFoundError:  # renamed or discarded meanwhile
        return False


def _remove(file: Path) -> bool:
    try:
        file.unlink()
    except FileNotFoundError:  # its writer was faster
        return False
    return True


def _named(file: IncomingFile, tell: _Told, error: BaseException | None) -> None:
    """The name of a file is durable, if there is no error."""
    if error is None:
        tell(file)
        return
    file.drop()
    tell(mapped(error, _WRITING) if isinstance(error, OSError) else error)


def _tell(
    loop: asyncio.AbstractEventLoop,
    kept: asyncio.Future[IncomingFile],
    found: IncomingFile | BaseException,
) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
        loop.call_soon_threadsafe(_settle, kept, found)


def _settle(kept: asyncio.Future[IncomingFile], found: IncomingFile | BaseException) -> None:
    if kept.done():  # cancelled
        return
    if isinstance(found, BaseException):
        kept.set_exception(found)
    else:
        kept.set_result(found)
