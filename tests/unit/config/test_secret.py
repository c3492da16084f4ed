"""config.secret: secrets come from files that only their owner can open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatewayd.config.secret import read_secret
from gatewayd.errors import KeyFileError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch(0o600)
    return path


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" pass word ", " pass word "),
        ("pässwörd\n".encode(), "pässwörd"),
    ],
)
def test_one_newline_at_the_end_is_not_the_secret(file: Path, octets: bytes, expected: str) -> None:
    """The newline an editor leaves goes; all else stays, spaces too."""
    file.write_bytes(octets)

    assert expected == read_secret(file)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610, 0o601, 0o444])
def test_file_open_to_others_is_refused(file: Path, mode: int) -> None:
    """Exit 77, and the command that mends it."""
    file.write_text("hunter2")
    file.chmod(mode)

    with pytest.raises(KeyFileError, match=f"run chmod 600 {file}") as caught:
        read_secret(file)

    assert caught.value.exit_code == 77
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_file_closed_to_others_is_read(file: Path, mode: int) -> None:
    """Any mode that gives nothing to group and world."""
    file.write_text("hunter2")
    file.chmod(mode)

    assert read_secret(file) == "hunter2"


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a\x00b", "control characters"),
        (b"x" * 65_537, "larger than"),
    ],
)
def test_file_without_a_text_is_refused(file: Path, octets: bytes, message: str) -> None:
    """What cannot be a password is a mistake in the file, not a login that fails later."""
    file.write_bytes(octets)

    with pytest.raises(KeyFileError, match=message):
        read_secret(file)


def test_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    """The text names the file and the mode."""
    with pytest.raises(KeyFileError, match="no such file: create it with mode 0600"):
        read_secret(tmp_path / "absent")


def test_directory_or_fifo_is_refused_at_once(tmp_path: Path) -> None:
    """A start never hangs on what is no file."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)

    for path in (tmp_path, fifo):
        with pytest.raises(KeyFileError, match="not a regular file"):
            read_secret(path)


def test_credential_without_systemd_says_what_to_add() -> None:
    """The unit's line is in the message."""
    with pytest.raises(KeyFileError, match=r"LoadCredential=db:/PATH"):
        read_secret("credential:db")


def test_credential_is_read_from_its_directory(tmp_path: Path) -> None:
    """Its mode is systemd's business."""
    (tmp_path / "db").write_text("hunter2\n")
    (tmp_path / "db").chmod(0o440)

    assert read_secret("credential:db", tmp_path) == "hunter2"
