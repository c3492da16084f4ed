"""From a header section and the hash of a body to DKIM-Signature fields (RFC 6376 5, RFC 8463).

What is signed, canonicalised relaxed/relaxed:

| fields                                                    | in `h=`                              |
|-----------------------------------------------------------|--------------------------------------|
| From To Cc Subject Date Message-ID                        | each one there is, and one more name |
| Reply-To Sender In-Reply-To References MIME-Version       | each one there is                    |
| Content-Type Content-Transfer-Encoding                    | each one there is                    |
| List-Unsubscribe List-Unsubscribe-Post (RFC 8058 4)       | each one there is                    |
| all others, such as Received and other signatures         | no                                   |

The one more name matches no field, so adding a second From or Subject on the way breaks the
signature (RFC 6376 8.15). The same input gives the same octets: the time in `t=` is an argument,
and both kinds of key sign deterministically. So every attempt sends what the first one sent.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final

from gatewayd.dkim.canonicalize import CRLF, BodyHash, relaxed_field
from gatewayd.dkim.key import SigningKey
from gatewayd.mail.header import HeaderSection

OVERSIGNED: Final = ("From", "To", "Cc", "Subject", "Date", "Message-ID")
SIGNED: Final = (
    *OVERSIGNED,
    "Reply-To",
    "Sender",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
)
LINE_OCTETS: Final = 78  # without CRLF (RFC 5322 2.1.1)

_FOLD: Final = "\r\n\t"


def body_hash(blocks: Iterable[bytes]) -> bytes:
    """SHA-256 of the relaxed body that the blocks make together: what `bh=` holds (32 octets)."""
    body = BodyHash()
    for block in blocks:
        body.update(block)
    return body.digest()


def sign(
    header: HeaderSection, body_hash: bytes, keys: Sequence[SigningKey], signed_at: dt.datetime
) -> bytes:
    """One DKIM-Signature field for each key, in their order, folded and ready to prepend.

    Put the RSA key first: a verifier that knows no Ed25519, or looks at one signature only, then
    finds the one it can read.

    Args:
        header: as it will be sent; a field added to `SIGNED` names afterwards breaks the signature.
        body_hash: of the body as it will be sent, from `body_hash()`.
        keys: none gives no field.
        signed_at: aware; when the message was accepted, so that every attempt says the same.

    Raises:
        ValueError: there is no From field (RFC 6376 5.4), or the time has no zone.
    """
    if signed_at.tzinfo is None:
        raise ValueError("signed_at needs a time zone")
    names, signed_octets = _select(header)
    return b"".join(
        _field(key, names, signed_octets, body_hash, int(signed_at.timestamp())) for key in keys
    )


def _select(header: HeaderSection) -> tuple[list[str], bytes]:
    """The names for `h=`, and the canonical octets of the fields they stand for."""
    if b"from" not in header.by_name:
        raise ValueError("a header section without From cannot be signed (RFC 6376 5.4)")
    names: list[str] = []
    octets: list[bytes] = []
    for name in SIGNED:
        fields = header.by_name.get(name.lower().encode("ascii"), [])
        names.extend([name] * (len(fields) + (name in OVERSIGNED)))
        # The first name stands for the lowest field, and so on upwards (RFC 6376 5.4.2).
        octets.extend(relaxed_field(field.raw) for field in reversed(fields))
    return names, b"".join(octets)


def _field(
    key: SigningKey, names: Sequence[str], signed_octets: bytes, body_hash: bytes, signed_at: int
) -> bytes:
    unsigned = (
        _fold(
            [
                "DKIM-Signature: v=1;",
                f" a={key.algorithm.value};",
                " c=relaxed/relaxed;",
                f" d={key.domain};",
                f" s={key.selector};",
                f" t={signed_at};",
                f" h={names[0]}:",
                *(f"{name}:" for name in names[1:-1]),
                f"{names[-1]};",
                f" bh={_base64(body_hash)};",
            ]
        )
        + f"{_FOLD}b="
    )
    # The field signs itself, with the value of `b=` empty and without its CRLF (RFC 6376 3.7).
    own_octets = relaxed_field(unsigned.encode("ascii")).removesuffix(CRLF)
    signature = _base64(key.signature(signed_octets + own_octets))
    first, width = LINE_OCTETS - len("\tb="), LINE_OCTETS - len("\t")
    lines = [signature[:first]]
    lines.extend(signature[at : at + width] for at in range(first, len(signature), width))
    return f"{unsigned}{_FOLD.join(lines)}\r\n".encode("ascii")


def _fold(pieces: Iterable[str]) -> str:
    """Put the pieces together, starting a line wherever the next one would make it too long.

    Only the first piece of a line may be longer than that: a domain has no place to fold.
    """
    lines: list[str] = []
    line = ""
    for piece in pieces:
        if line and len(line) + len(piece) > LINE_OCTETS:
            lines.append(line)
            line = "\t" + piece.lstrip(" ")
        else:
            line += piece
    return "\r\n".join([*lines, line])


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
