"""RawMessage: a header section and a body, as the octets they came in.

A body of up to 64 KiB is `bytes`; a larger one is a `SpooledBody`, the name of a file in the
spool with the facts that were found while it was written. Octets are never re-serialised.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gatewayd.mail.header import HeaderSection

_CRLF = b"\r\n"
_BLANK_LINE = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledBody:
    """A body that lies in the spool.

    key: its name there.
    sha256: of its octets, in hexadecimal.
    """

    key: str
    size_octets: int
    sha256: str
    has_8bit: bool


Body = bytes | SpooledBody


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A message as octets: header section, a blank line that is not stored, body.

    is_checked: the lines and the MIME tree of the body were judged while it came in, or are ours.
    """

    header: HeaderSection
    body: Body
    is_checked: bool = field(default=False, kw_only=True, compare=False)

    @classmethod
    def parse(cls, octets: bytes) -> RawMessage:
        """Split a whole message at its first blank line.

        Without a blank line everything is header section, and the body is empty. Whether it is a
        good header section is for `HeaderSection.check` to say.
        """
        parts = split_header(octets)
        if parts is not None:
            return cls(HeaderSection(parts[0]), parts[1])
        if octets and not octets.endswith(_CRLF):
            octets += _CRLF
        return cls(HeaderSection(octets), b"")

    @property
    def size_octets(self) -> int:
        """Size on the wire without dot-stuffing: what SIZE counts (RFC 1870 3)."""
        body = self.body
        body_octets = len(body) if isinstance(body, bytes) else body.size_octets
        return len(self.header.octets) + len(_CRLF) + body_octets

    @property
    def has_8bit(self) -> bool:
        """Octets over 127 anywhere: the next hop needs 8BITMIME (RFC 6152, RFC 6531 3.6)."""
        body = self.body
        body_has_8bit = not body.isascii() if isinstance(body, bytes) else body.has_8bit
        return body_has_8bit or not self.header.octets.isascii()

    @property
    def needs_smtputf8(self) -> bool:
        """Raw UTF-8 in the header section: the next hop needs SMTPUTF8 (RFC 6531 3.6)."""
        return not self.header.octets.isascii()


def split_header(octets: bytes) -> tuple[bytes, bytes] | None:
    """Header section with its last CRLF, and what follows the blank line.

    None when there is no blank line in `octets`: more of the message is needed, or it has none.
    """
    if octets.startswith(_CRLF):
        return b"", octets[len(_CRLF) :]
    at = octets.find(_BLANK_LINE)
    if at < 0:
        return None
    return octets[: at + len(_CRLF)], octets[at + len(_BLANK_LINE) :]
