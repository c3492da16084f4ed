"""ReversePaths: VERP addresses under a key ring, made at hand-over, believed when they return."""

from __future__ import annotations

import datetime as dt
from typing import Final

from gatewayd.clock import Clock
from gatewayd.keys.mac import Mac
from gatewayd.keys.ring import KeyRing
from gatewayd.mail import verp
from gatewayd.mail.address import Address, ReversePath

_LABEL: Final = b"verp"
_EPOCH: Final = dt.date(1970, 1, 1)


class ReversePaths:
    """Makes and reads the reverse-paths of one bounce domain.

    Args:
        domain: the bounce domain, A-labels in lower case.
        lifetime: how long after hand-over a report is believed.
    """

    def __init__(self, ring: KeyRing, *, domain: str, lifetime: dt.timedelta, clock: Clock) -> None:
        self.domain = domain
        self._lifetime = lifetime
        self._clock = clock
        self.use(ring)

    def use(self, ring: KeyRing) -> None:
        """Take another ring."""
        self._active = ring.active.kid
        self._keys = {key.kid: ring.derive(key.kid, _LABEL) for key in ring.readable}
        self._mac = Mac(self._keys[self._active])

    def make(self, ident: str) -> ReversePath:
        """The reverse-path for the id of a recipient or a message, valid from today on."""
        local_part = verp.encode_by(
            ident,
            kid=self._active,
            expires_day=self._today() + self._lifetime.days,
            digest=self._mac.digest,
        )
        return ReversePath(Address(local_part, self.domain))

    def read(self, local_part: str) -> str | None:
        """The id that a local-part of this domain carries; None when it is forged or expired."""
        found = verp.decode(local_part)
        if found is None:
            return None
        key = self._keys.get(found.kid)
        if key is None or not found.is_authentic(key) or found.expires_day < self._today():
            return None
        return found.ident

    def _today(self) -> int:
        return (self._clock.now().date() - _EPOCH).days
