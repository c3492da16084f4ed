"""Key rings as files: `<directory>/<purpose>.keys`, mode 0600, one key per line.

```
# gatewayd jwt keys: kid state secret created_at
b active 9mM0oLPeGSyjBPiVZ9DdkF3S4AfK2ASQYrMYRT8hqzc 2026-11-21T09:30:00+00:00
a old    ...
```

The secret is 32 octets in base64url, with or without padding. A line that starts with `#` is a
comment. Where systemd gives credentials, a file of the same name among them is read instead, and
is never written. A file is replaced as a whole: a crash leaves the old one or the new one.

Messages name the file and the line, and never repeat what stands in it.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from gatewayd.errors import KeyFileError
from gatewayd.keys.ring import SECRET_OCTETS, Key, KeyRing, KeyState, Purpose, new_ring

FILE_OCTETS_MAXIMUM: Final = 65_536

_EX_NOPERM: Final = 77
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}=?")  # 32 octets
_FORM: Final = "`kid state secret created_at`"


def load(directory: Path, purpose: Purpose, credentials: Path | None = None) -> KeyRing:
    """Read a ring, from the credentials if they have it.

    Args:
        directory: of the key files.
        purpose: which file.
        credentials: what systemd calls `$CREDENTIALS_DIRECTORY`, if there is one.

    Raises:
        KeyFileError: missing, malformed (exit 78), unreadable or open to others (exit 77).
    """
    path = _credential(credentials, purpose)
    # systemd guards the directory, and its files may show the group bit of an access control list.
    forbidden = stat.S_IRWXO
    if path is None:
        path, forbidden = _file(directory, purpose), stat.S_IRWXG | stat.S_IRWXO
    return _parse(path, purpose, _read(path, forbidden))


def is_present(directory: Path, purpose: Purpose, credentials: Path | None = None) -> bool:
    """Whether there is a file for `load` to read, good or bad."""
    path = _file(directory, purpose)
    with _explained("read", path):
        return _credential(credentials, purpose) is not None or path.exists()


def create(directory: Path, purpose: Purpose, *, now: dt.datetime) -> KeyRing:
    """Make the first key of a purpose, durably; the directory too when it is not there.

    Raises:
        KeyFileError: there is a file already, which stays as it is, or it cannot be written.
    """
    ring = new_ring(purpose, created_at=now)
    path = _file(directory, purpose)
    with _explained("write", path), _written(path, _render(ring)) as temporary:
        try:
            # A link, unlike a rename, never replaces what is there.
            path.hardlink_to(temporary)
        except FileExistsError:
            raise KeyFileError(f"{path} exists already and was left as it is") from None
    return ring


def save(ring: KeyRing, directory: Path, credentials: Path | None = None) -> None:
    """Replace the file of a ring, durably.

    Raises:
        KeyFileError: it comes from the credentials, or cannot be written.
    """
    if credential := _credential(credentials, ring.purpose):
        raise KeyFileError(
            f"{credential} is a systemd credential and cannot be changed from here:"
            " change its source and restart, or keep the key in the directory of the key files"
        )
    path = _file(directory, ring.purpose)
    with _explained("write", path), _written(path, _render(ring)) as temporary:
        temporary.replace(path)


def _file(directory: Path, purpose: Purpose) -> Path:
    return directory / f"{purpose.value}.keys"


def _credential(credentials: Path | None, purpose: Purpose) -> Path | None:
    if credentials is None:
        return None
    path = _file(credentials, purpose)
    return path if path.exists() else None


def _read(path: Path, forbidden: int) -> str:
    with _explained("read", path), _opened(path) as file:
        # Asked of the open file, so that it cannot be another one than is read.
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & forbidden:
            raise KeyFileError(
                f"{path} has mode {mode:04o}, so others can use the keys in it: chmod 600 {path}",
                exit_code=_EX_NOPERM,
            )
        octets = file.read(FILE_OCTETS_MAXIMUM + 1)
    if len(octets) > FILE_OCTETS_MAXIMUM:
        raise KeyFileError(f"{path}: expected a key file of at most {FILE_OCTETS_MAXIMUM} octets")
    try:
        return octets.decode("ascii")
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: expected ASCII text, lines of {_FORM}") from None


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise KeyFileError(
            f"{path} is missing: restore it from the backup of the keys; what was made with a lost"
            " key cannot be read again"
        ) from error


def _parse(path: Path, purpose: Purpose, text: str) -> KeyRing:
    keys: list[Key] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            try:
                keys.append(_parse_key(line))
            except ValueError as error:
                # `from None`: errors of the standard library quote the text they choke on.
                raise KeyFileError(f"{path}:{number}: expected {error}") from None
    try:
        return KeyRing(purpose=purpose, keys=tuple(keys))
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from None


def _parse_key(line: str) -> Key:
    """One line; a ValueError says what was expected and nothing else."""
    words = line.split()
    if len(words) != 4:
        raise ValueError(f"{_FORM}, four words")
    kid, state, secret, created_at = words
    if state not in tuple(KeyState):
        raise ValueError(f"as the second word one of {', '.join(KeyState)}")
    octets = _decode_secret(secret)
    if octets is None:
        raise ValueError(f"as the third word {SECRET_OCTETS} octets in base64url")
    at = _decode_time(created_at)
    if at is None:
        raise ValueError("as the fourth word a time with a zone, such as 2026-11-21T09:30:00+00:00")
    try:
        return Key(kid=kid, state=KeyState(state), secret=octets, created_at=at)
    except ValueError:
        raise ValueError("as the first word a key id, one character of a-z and 2-7") from None


def _decode_secret(text: str) -> bytes | None:
    return base64.urlsafe_b64decode(text[:43] + "=") if _SECRET.fullmatch(text) else None


def _decode_time(text: str) -> dt.datetime | None:
    try:
        at = dt.datetime.fromisoformat(text)
        return at.astimezone(dt.UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _render(ring: KeyRing) -> bytes:
    lines = [f"# gatewayd {ring.purpose.value} keys: kid state secret created_at\n"]
    for key in ring.keys:
        secret = base64.urlsafe_b64encode(key.secret).decode("ascii").rstrip("=")
        at = key.created_at.astimezone(dt.UTC).isoformat()
        lines.append(f"{key.kid} {key.state.value:6} {secret} {at}\n")
    return "".join(lines).encode("ascii")


@contextlib.contextmanager
def _written(path: Path, octets: bytes) -> Iterator[Path]:
    """Write a file beside `path` for the caller to put in its place; then make that durable."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def _explained(verb: str, path: Path) -> Iterator[None]:
    """Say what the operator can do about an error of the system."""
    try:
        yield
    except PermissionError as error:
        raise KeyFileError(
            f"cannot {verb} {path}: it must belong to the user that gatewayd runs as",
            exit_code=_EX_NOPERM,
        ) from error
    except OSError as error:
        raise KeyFileError(f"cannot {verb} {path}: {error.strerror or error}") from error
