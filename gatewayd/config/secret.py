"""Secrets from files with safe modes, or from systemd's credentials.

A secret is never a value of the configuration, an argument or an environment variable: it is a
file that only its owner can open, or `credential:NAME` of a `LoadCredential=NAME:/path` line.
systemd guards the files it hands over by an access list, which shows as mode 0440: their modes are
left to it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from gatewayd.config.types import CREDENTIAL
from gatewayd.errors import KeyFileError

LARGEST_SECRET_OCTETS: Final = 65_536
EX_NOPERM: Final = 77
EX_CONFIG: Final = 78
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_secret(reference: Path | str, credentials: Path | None = None) -> str:
    """The text of a secret file, without the newline an editor leaves at its end.

    Args:
        reference: a path, or `credential:NAME`.
        credentials: $CREDENTIALS_DIRECTORY.

    Raises:
        KeyFileError: missing, open to others (exit 77), empty, or not text.
    """
    path = locate(reference, credentials)
    octets = _read(path, guarded=credentials is not None and path.parent == credentials)
    try:
        text = octets.decode()
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path}: not UTF-8 text, from octet {error.start} on") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise KeyFileError(f"{path}: empty: write the secret into it")
    if any(ord(character) < 0x20 for character in text if character not in "\r\n\t"):
        raise KeyFileError(f"{path}: holds control characters: it is no text file")
    return text


def check_secret(reference: Path | str, credentials: Path | None = None) -> None:
    """Raise KeyFileError if a file with a key could not be read, or could be by others."""
    path = locate(reference, credentials)
    _read(path, guarded=credentials is not None and path.parent == credentials)


def locate(reference: Path | str, credentials: Path | None) -> Path:
    """The path of a reference.

    Raises:
        KeyFileError: a credential, and this process was not given any.
    """
    text = str(reference)
    if not text.startswith(CREDENTIAL):
        return Path(reference)
    name = text.removeprefix(CREDENTIAL)
    if credentials is None:
        raise KeyFileError(
            f"{text}: systemd gave this process no credentials: add LoadCredential={name}:/PATH "
            "to the unit, or name the path of a file instead"
        )
    return credentials / name


def _read(path: Path, *, guarded: bool) -> bytes:
    try:
        # Not blocking: a FIFO in the place of the file must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: no such file: create it with mode 0600") from None
    except PermissionError:
        raise KeyFileError(
            f"{path}: not readable by this user: chown it to the user that runs gatewayd",
            exit_code=EX_NOPERM,
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{path}: not a regular file")
        if status.st_mode & _OTHERS and not guarded:
            raise KeyFileError(
                f"{path}: mode {stat.S_IMODE(status.st_mode):04o} lets others read it: "
                f"run chmod 600 {path}",
                exit_code=EX_NOPERM,
            )
        octets = os.read(descriptor, LARGEST_SECRET_OCTETS + 1)
    finally:
        os.close(descriptor)
    if len(octets) > LARGEST_SECRET_OCTETS:
        raise KeyFileError(f"{path}: larger than {LARGEST_SECRET_OCTETS} octets: no secret")
    return octets
