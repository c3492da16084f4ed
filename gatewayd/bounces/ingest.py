"""Raw messages out of files, for `bounces ingest`.

| the path is                    | its messages                                                  |
|--------------------------------|---------------------------------------------------------------|
| a file that begins `From `     | of an mbox, one after the other; `>From ` is `From ` again    |
| another file                   | itself                                                        |
| a directory with `cur`, `new`  | of a Maildir, delivered or seen; `tmp` is not looked at       |
| another directory              | of its files and directories, in the order of their names     |

What begins with a dot, or is neither file nor directory, is passed over: a fifo would never end.
What cannot be read is told, and the others are read nevertheless.
Of each message the first `most_octets` are read, however long it is, and of an mbox one message at
a time is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

_SEPARATOR: Final = b"From "
_QUOTED: Final = b">From "
_LINE_OCTETS: Final = 65_536  # read at once; what follows is the same line still
_OnUnreadable = Callable[[Path, OSError], None]
_DEPTH: Final = 50  # directories inside each other: a bind mount may be a loop


@dataclass(frozen=True, slots=True)
class RawFile:
    """One message. name: its path; in an mbox with `:` and its number, from 1 on."""

    name: str
    octets: bytes = field(repr=False)


def messages(path: Path, *, most_octets: int, on_unreadable: _OnUnreadable) -> Iterator[RawFile]:
    """Every message below a path.

    Args:
        path: file or directory; a link is followed here, and nowhere below.
        most_octets: of one message, from its beginning.
        on_unreadable: told of a file or directory that cannot be read, or not to its end.
    """
    for file in _files(path, _DEPTH, on_unreadable):
        try:
            yield from _of_file(file, most_octets)
        except OSError as error:
            on_unreadable(file, error)


def _files(path: Path, depth: int, on_unreadable: _OnUnreadable) -> Iterator[Path]:
    try:
        inside = _inside(path) if path.is_dir() else None
    except OSError as error:
        on_unreadable(path, error)
        return
    if inside is None:
        yield path
        return
    for each in inside:
        if each.is_file() or (each.is_dir() and depth):
            yield from _files(each, depth - 1, on_unreadable)


def _inside(directory: Path) -> list[Path]:
    """What is looked at of a directory, in the order of its names."""
    names = sorted(each for each in directory.iterdir() if not each.name.startswith("."))
    is_maildir = (directory / "cur").is_dir() and (directory / "new").is_dir()
    return [
        each
        for each in names
        if not (each.is_symlink() or (is_maildir and each.name not in ("cur", "new")))
    ]


def _of_file(path: Path, most_octets: int) -> Iterator[RawFile]:
    with path.open("rb") as file:
        head = file.read(len(_SEPARATOR))
        if head == _SEPARATOR:
            yield from _of_mbox(path, file, most_octets)
        else:
            yield RawFile(str(path), head + file.read(max(0, most_octets - len(head))))


def _of_mbox(path: Path, file: BinaryIO, most_octets: int) -> Iterator[RawFile]:
    """The messages of an mbox (RFC 4155 A), the first separator begun already.

    A separator is a line that begins `From ` after an empty one. Older programs write one without
    the empty line before it, but mail that quotes such a line is seen more often than they are.
    """
    kept = bytearray()
    number = 1
    is_separator, at_start, after_blank = True, False, False
    while line := file.readline(_LINE_OCTETS):
        if at_start and after_blank and line.startswith(_SEPARATOR):
            yield RawFile(f"{path}:{number}", _without_blank_end(kept))
            kept, number, is_separator = bytearray(), number + 1, True
        ends = line.endswith(b"\n")
        if not is_separator and len(kept) < most_octets:
            kept += line[1:] if at_start and line.startswith(_QUOTED) else line
            del kept[most_octets:]
        if is_separator and ends:
            is_separator = False
            after_blank = False
        else:
            after_blank = at_start and line in (b"\n", b"\r\n")
        at_start = ends
    yield RawFile(f"{path}:{number}", _without_blank_end(kept))


def _without_blank_end(kept: bytearray) -> bytes:
    """The message without the empty line that stands before the next separator."""
    for end in (b"\r\n\r\n", b"\n\n"):
        if kept.endswith(end):
            return bytes(kept[: -len(end) // 2])
    return bytes(kept)
