"""bounces.ingest: raw messages out of files, mbox files, Maildirs and directories."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gatewayd.bounces.ingest import messages

_MOST = 1000


def _found(path: Path, most_octets: int = _MOST) -> list[tuple[str, bytes]]:
    """Names without the directory, and octets."""
    prefix = f"{path.parent}/"
    return [
        (one.name.removeprefix(prefix), one.octets)
        for one in messages(path, most_octets=most_octets, on_unreadable=_fail)
    ]


def _fail(path: Path, error: OSError) -> None:
    raise AssertionError(path) from error


def _write(directory: Path, **files: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, octets in files.items():
        (directory / name).write_bytes(octets)
    return directory


def test_file_is_one_message_as_it_is(tmp_path: Path) -> None:
    """Line ends and all; empty ones, too."""
    _write(tmp_path, one=b"Subject: x\n\nFrom here\r\n", two=b"")

    assert _found(tmp_path / "one") == [("one", b"Subject: x\n\nFrom here\r\n")]
    assert _found(tmp_path / "two") == [("two", b"")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_mbox_is_parted_at_its_separators(tmp_path: Path, end: bytes) -> None:
    """`From ` after an empty line, and `>From ` is quoted (RFC 4155 A)."""
    lines = [
        b"From MAILER-DAEMON Sat Nov 21 08:00:00 2026", b"Subject: one", b"", b"text",
        b"From within a paragraph", b"", b">From quoted", b"",
        b"From someone@example.com Sat Nov 21 08:00:01 2026", b"Subject: two", b"", b"text", b"",
    ]  # fmt: skip
    _write(tmp_path, box=end.join(lines) + end)
    first = [b"Subject: one", b"", b"text", b"From within a paragraph", b"", b"From quoted", b""]

    assert _found(tmp_path / "box") == [
        ("box:1", end.join(first)),
        ("box:2", end.join([b"Subject: two", b"", b"text", b""])),
    ]


def test_mbox_with_a_quoted_line_stays_whole(tmp_path: Path) -> None:
    """What its writer quoted is no separator."""
    _write(tmp_path, box=b"From x\nSubject: one\n\n>From the start\n\n")

    assert _found(tmp_path / "box") == [("box:1", b"Subject: one\n\nFrom the start\n")]


def test_only_the_beginning_of_a_message_is_kept(tmp_path: Path) -> None:
    """Of a file, of each message of an mbox, and of a line without an end."""
    _write(tmp_path, one=b"x" * 5000, box=b"From a\n" + b"y" * 200_000 + b"\n\nFrom b\nz\n")

    assert [len(octets) for _, octets in _found(tmp_path / "one")] == [_MOST]
    assert [len(octets) for _, octets in _found(tmp_path / "box")] == [_MOST, 2]


def test_maildir_is_its_new_and_cur(tmp_path: Path) -> None:
    """What is still being written in tmp is no message."""
    for name in ("cur", "new", "tmp"):
        _write(tmp_path / "box" / name, **{f"in-{name}": name.encode()})
    _write(tmp_path / "box", dovecot=b"index")

    assert [octets for _, octets in _found(tmp_path / "box")] == [b"cur", b"new"]


def test_directory_is_walked_in_the_order_of_names(tmp_path: Path) -> None:
    """Hidden files, links, fifos and loops of links are passed over."""
    top = _write(tmp_path / "top", b=b"2", a=b"1", **{".hidden": b"no"})
    _write(top / "c", d=b"3")
    (top / "loop").symlink_to(top)
    (top / "link").symlink_to(top / "a")
    os.mkfifo(top / "fifo")

    assert _found(top) == [("top/a", b"1"), ("top/b", b"2"), ("top/c/d", b"3")]


def test_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Nothing is left out without a word."""
    told: list[tuple[Path, str | None]] = []

    found = list(
        messages(
            tmp_path / "none",
            most_octets=_MOST,
            on_unreadable=lambda path, error: told.append((path, error.strerror)),
        )
    )

    assert found == []
    assert told == [(tmp_path / "none", "No such file or directory")]


def test_others_are_read_beside_one_that_cannot_be() -> None:
    """A process' own directory has some that nobody can read, not even root."""
    told: list[str] = []
    directory = Path(f"/proc/self/task/{threading.get_native_id()}")

    found = {
        Path(one.name).name
        for one in messages(
            directory, most_octets=_MOST, on_unreadable=lambda path, _: told.append(path.name)
        )
    }

    assert "mem" in told
    assert {"comm", "status"} <= found
