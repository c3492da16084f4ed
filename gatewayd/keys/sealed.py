"""Sealer: small secrets as text for a database column.

A sealed text is `<kid>:<Fernet token>`, such as `a:gAAAAAB...`. The key id in front lets a
statement count and find the rows that a rotation still has to re-encrypt.
"""

from __future__ import annotations

import base64
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from gatewayd.errors import KeyFileError
from gatewayd.keys.ring import Key, KeyRing

_LABEL: Final = b"fernet"


class Sealer:
    """Seals with the active key of a ring, opens with every key of it."""

    def __init__(self, ring: KeyRing) -> None:
        self._prefix = _prefix(ring.active)
        self._fernet = MultiFernet(
            [
                Fernet(base64.urlsafe_b64encode(ring.derive(key.kid, _LABEL)))
                for key in ring.readable
            ]
        )

    @property
    def prefix(self) -> str:
        """How a text starts that is under the active key; all others need `reseal`."""
        return self._prefix

    def seal(self, text: str) -> str:
        return self._prefix + self._fernet.encrypt(text.encode("utf-8")).decode("ascii")

    def open(self, sealed: str) -> str:
        """What was sealed.

        Raises:
            KeyFileError: no key of the ring made it, or it was changed.
        """
        try:
            return self._fernet.decrypt(_token(sealed)).decode("utf-8")
        except InvalidToken:
            raise _unopened(sealed) from None

    def reseal(self, sealed: str) -> str:
        """The same secret under the active key; a text that is under it already stays as it is.

        Raises:
            KeyFileError: as `open`.
        """
        if sealed.startswith(self._prefix):
            return sealed
        try:
            return self._prefix + self._fernet.rotate(_token(sealed)).decode("ascii")
        except InvalidToken:
            raise _unopened(sealed) from None


def _prefix(key: Key) -> str:
    return f"{key.kid}:"


def _token(sealed: str) -> bytes:
    return sealed.partition(":")[2].encode("utf-8")


def _unopened(sealed: str) -> KeyFileError:
    kid, colon, _ = sealed.partition(":")
    name = f" with key {kid}" if colon and len(kid) == 1 and kid.isalnum() else ""
    return KeyFileError(
        f"a stored secret, sealed{name}, opens with no key in fernet.keys:"
        " restore the key file that belongs to this database"
    )
