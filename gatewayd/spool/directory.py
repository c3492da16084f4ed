"""Spool in a directory: write, fsync, rename, fsync directory.

```
<directory>/incoming/<uuid>.tmp    being written, mode 0600
<directory>/<2 hex>/<uuid>         finished and durable; <2 hex> are the first two of the name
```

| the system says  | raised           | why                                                       |
|------------------|------------------|-----------------------------------------------------------|
| ENOSPC, EDQUOT   | StoreFull        | space may come back                                       |
| EIO, EROFS       | StoreBroken      | a device that failed once may say yes later and be wrong  |
| any, from fsync  | StoreBroken      | the same: the octets are gone, and the next fsync is fine |
| any other        | StoreUnavailable | such as too many open files                               |

All 256 directories are made, and fsynced, when the spool is opened: otherwise a file could be
durable in a directory that is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import hashlib
import os
import re
import secrets
import uuid
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Final

from gatewayd.errors import SpoolDamaged, StoreBroken, StoreError, StoreFull, StoreUnavailable
from gatewayd.mail.message import Body, SpooledBody
from gatewayd.spool.port import BLOCK_OCTETS, MEMORY_OCTETS

_INCOMING: Final = "incoming"
_BUCKETS: Final = tuple(f"{number:02x}" for number in range(256))
_KEY: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SWEEP_KEYS: Final = 500  # in one question about rows
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_DEVICE_FAILED: Final = (errno.EIO, errno.EROFS)


class Spool:
    """Bodies as files below one directory, which is made when it is not there.

    One process may use a directory at a time. Methods may be called on any thread; `check` and
    `BodyWriter.finish` take one of their own for what waits for the disk.

    Raises:
        StoreError: the directories cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._incoming = directory / _INCOMING
        with _disk_errors("open the spool"):
            self._make_directories()

    def incoming(self, memory_octets: int = MEMORY_OCTETS) -> BodyWriter:
        return BodyWriter(self._directory, memory_octets)

    async def check(self, body: Body) -> None:
        if isinstance(body, SpooledBody):
            await asyncio.to_thread(self._check, body)

    def blocks(self, body: Body, size: int = BLOCK_OCTETS) -> Iterator[bytes]:
        if isinstance(body, bytes):
            yield from (body[start : start + size] for start in range(0, len(body), size))
            return
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
        with _disk_errors("delete a spool file"):
            _path(self._directory, key).unlink(missing_ok=True)

    def sweep(
        self, referenced: Callable[[Sequence[str]], set[str]], older_than: dt.datetime | None
    ) -> int:
        before = older_than.timestamp() if older_than is not None else None
        with _disk_errors("sweep the spool"):
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
        with _disk_errors("ask for free space"):
            space = os.statvfs(self._directory)
        return space.f_bavail * space.f_frsize

    def _make_directories(self) -> None:
        if not self._directory.is_dir():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_directory(self._directory.parent)
        there = {entry.name for entry in self._directory.iterdir()}
        for name in (_INCOMING, *_BUCKETS):
            if name not in there:
                (self._directory / name).mkdir(mode=0o700)
        # Also when none was missing: who made them may have been killed before this line.
        _sync_directory(self._directory)

    def _check(self, body: SpooledBody) -> None:
        digest = hashlib.sha256()
        for block in self.blocks(body):
            digest.update(block)
        if digest.hexdigest() != body.sha256:
            raise SpoolDamaged(f"spool file {body.key} has another SHA-256 than when accepted")


class BodyWriter:
    """Takes one body, in memory first and in a file above `memory_octets`; made by Spool."""

    def __init__(self, directory: Path, memory_octets: int) -> None:
        self._directory = directory
        self._memory_octets = memory_octets
        self._memory = bytearray()
        self._file: _IncomingFile | None = None
        self._digest = hashlib.sha256()  # of what is in the file
        self._size_octets = 0
        self._is_ascii = True
        self._is_ended = False

    @property
    def size_octets(self) -> int:
        return self._size_octets

    @property
    def held_octets(self) -> int:
        return len(self._memory)

    def write(self, block: bytes) -> None:
        self._refuse_if_ended()
        self._size_octets += len(block)
        self._is_ascii = self._is_ascii and block.isascii()
        if self._size_octets <= self._memory_octets:
            self._memory += block
            return
        try:
            self._write_to_file(block)
        except StoreError:
            self.discard()
            raise

    async def finish(self) -> Body:
        self._refuse_if_ended()
        self._is_ended = True
        if self._file is None:
            return bytes(self._memory)
        await asyncio.to_thread(self._file.keep)
        return SpooledBody(
            key=self._file.key,
            size_octets=self._size_octets,
            sha256=self._digest.hexdigest(),
            has_8bit=not self._is_ascii,
        )

    def discard(self) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._memory = bytearray()
        if self._file is not None:
            self._file.drop()

    def _write_to_file(self, block: bytes) -> None:
        if self._file is None:
            self._file = _IncomingFile(self._directory)
            self._digest.update(self._memory)
            self._file.write(self._memory)
            self._memory = bytearray()
        self._digest.update(block)
        self._file.write(block)

    def _refuse_if_ended(self) -> None:
        if self._is_ended:
            raise AssertionError("this body has ended")


class _IncomingFile:
    """One file on its way into the spool."""

    def __init__(self, directory: Path) -> None:
        self.key = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
        self._temporary = directory / _INCOMING / f"{self.key}.tmp"
        self._final = _path(directory, self.key)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with _disk_errors("make a spool file"):
            self._file = os.fdopen(os.open(self._temporary, flags, 0o600), "wb")

    def write(self, block: bytes | bytearray) -> None:
        """Into the page cache."""
        with _disk_errors("write a spool file"):
            self._file.write(block)

    def keep(self) -> None:
        """Make it durable under its key, or drop it. Waits for the disk."""
        try:
            with _disk_errors("write a spool file"):
                self._file.flush()
                _sync(self._file.fileno())
                self._file.close()
                self._temporary.rename(self._final)
                _sync_directory(self._final.parent)
                _sync_directory(self._temporary.parent)
        except StoreError:
            self.drop()
            raise

    def drop(self) -> None:
        """Close and remove it as far as the disk allows; `sweep` does the rest."""
        with contextlib.suppress(
            OSError
        ):  # close writes what is buffered, which may be the trouble
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()


def _path(directory: Path, key: str) -> Path:
    if not _KEY.fullmatch(key):
        raise SpoolDamaged(f"{key!r} is no name of a spool file")
    return directory / key[:2] / key


def _open(path: Path) -> FileIO:
    with _disk_errors("open a spool file"):
        try:
            return path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise SpoolDamaged(f"spool file {path.name} is missing") from error


def _read(file: FileIO, size: int) -> bytes:
    with _disk_errors("read a spool file"):
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


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise
        raise StoreBroken(f"fsync of the spool failed: {error.strerror}") from error


@contextlib.contextmanager
def _disk_errors(doing: str) -> Iterator[None]:
    """Map what the system says to our errors: the table of this module."""
    try:
        yield
    except OSError as error:
        text = f"cannot {doing}: {error.strerror or error}"
        if error.errno in _NO_SPACE:
            raise StoreFull(text) from error
        if error.errno in _DEVICE_FAILED:
            raise StoreBroken(text) from error
        raise StoreUnavailable(text) from error
