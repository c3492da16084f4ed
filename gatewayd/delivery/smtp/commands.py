"""MAIL and RCPT as octets: an envelope and what the peer takes, to command lines. Pure.

| parameter      | is sent if                                              | source        |
|----------------|---------------------------------------------------------|---------------|
| SIZE           | the peer offers SIZE                                    | RFC 1870 6    |
| BODY=8BITMIME  | it offers 8BITMIME, and the content or its submitter    | RFC 6152 3    |
|                | says 8bit                                               |               |
| SMTPUTF8       | it offers it, and address, header or submitter need it  | RFC 6531 3.4  |
| RET, ENVID     | it offers DSN, and the submitter gave them              | RFC 3461 4    |
| NOTIFY, ORCPT  | the same; ORCPT in UTF-8 only with SMTPUTF8             | RFC 3461 4    |
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Final, Protocol

from gatewayd.delivery.smtp.capabilities import Capabilities
from gatewayd.mail.address import Address
from gatewayd.mail.envelope import BodyType, Envelope, Recipient

_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")


class Content(Protocol):
    """A message as it goes on the wire, before dot-stuffing."""

    @property
    def size_octets(self) -> int:
        """What SIZE counts (RFC 1870 3)."""
        ...

    @property
    def has_8bit(self) -> bool: ...

    @property
    def needs_smtputf8(self) -> bool:
        """Whether its header section is in UTF-8 (RFC 6531 3.6)."""
        ...

    def blocks(self) -> AsyncGenerator[bytes]:
        """Its octets, as often as asked; raises SpoolDamaged, StoreError."""
        ...


def needs_smtputf8(envelope: Envelope, content: Content) -> bool:
    """Whether it cannot be sent without; a domain alone can, it has A-labels (RFC 6531 3.2)."""
    reverse = envelope.reverse_path.address
    return (
        content.needs_smtputf8
        or (reverse is not None and not reverse.local_part.isascii())
        or any(not each.address.local_part.isascii() for each in envelope.recipients)
    )


def mail(envelope: Envelope, content: Content, peer: Capabilities) -> bytes:
    """The MAIL command."""
    words = [f"MAIL FROM:<{_wire(envelope.reverse_path.address, peer)}>"]
    if peer.has_size:
        words.append(f"SIZE={content.size_octets}")
    if peer.eight_bit_mime and (envelope.body is BodyType.EIGHT_BIT or content.has_8bit):
        words.append("BODY=8BITMIME")
    if peer.smtputf8 and (envelope.smtputf8 or needs_smtputf8(envelope, content)):
        words.append("SMTPUTF8")
    if peer.dsn and envelope.ret is not None:
        words.append(f"RET={envelope.ret.value}")
    if peer.dsn and envelope.envid is not None:
        words.append(f"ENVID={envelope.envid}")
    return _command(words)


def rcpt(recipient: Recipient, peer: Capabilities) -> bytes:
    """The RCPT command for one recipient."""
    words = [f"RCPT TO:<{_wire(recipient.address, peer)}>"]
    if peer.dsn and recipient.notify:
        words.append(f"NOTIFY={','.join(sorted(recipient.notify))}")
    orcpt = recipient.orcpt
    if peer.dsn and orcpt is not None and (orcpt.isascii() or peer.smtputf8):
        words.append(f"ORCPT={orcpt}")
    return _command(words)


def _wire(address: Address | None, peer: Capabilities) -> str:
    if address is None:
        return ""
    if peer.smtputf8 or address.is_ascii:
        return str(address)
    return f"{address.local_part}@{address.ascii_domain}"


def _command(words: Sequence[str]) -> bytes:
    """One line. Its parts were parsed before; nothing that could end it may be in there."""
    octets = " ".join(words).encode()
    if _CONTROL.search(octets):
        raise AssertionError("a control character in a command")
    return octets + b"\r\n"
