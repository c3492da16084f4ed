"""When two addresses are the same for suppression.

The domain is folded (A-labels, lower case); the local-part is compared as it is, because only the
receiving host knows what else is equal (RFC 5321 2.4). Sub-addresses and dots are not merged.
"""

from __future__ import annotations

from gatewayd.mail.address import Address


def key(address: Address) -> str:
    return address.canonical
