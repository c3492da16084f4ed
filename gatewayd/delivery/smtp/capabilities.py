"""What a next hop said it can do: the keywords of its EHLO reply as one value.

| keyword    | what it changes here                                       | source           |
|------------|------------------------------------------------------------|------------------|
| PIPELINING | MAIL, RCPT and DATA go in one write                        | RFC 2920         |
| SIZE n     | larger messages are not sent; SIZE= is told at MAIL        | RFC 1870         |
| 8BITMIME   | 8bit content may be sent, declared by BODY=                | RFC 6152         |
| SMTPUTF8   | addresses and header fields in UTF-8 may be sent           | RFC 6531         |
| DSN        | RET, ENVID, NOTIFY and ORCPT are passed on                 | RFC 3461         |
| LIMITS     | RCPTMAX recipients a transaction, MAILMAX transactions     | RFC 9422         |
| STARTTLS   | the session can become TLS                                 | RFC 3207         |
| AUTH       | which mechanisms there are                                 | RFC 4954         |

Everything else, CHUNKING too, is ignored: DATA is always there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_OLD_AUTH: Final = re.compile(r"\A\s*AUTH=")
_DIGITS: Final = 20  # of SIZE (RFC 1870 3) and, more than enough, of LIMITS (RFC 9422 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What may be used in this session; the default is what RFC 821 had: nothing.

    size_octets: largest message the peer takes; None when it sets or tells no limit.
    recipients_max, mails_max: of LIMITS; None when it sets none.
    """

    pipelining: bool = False
    size_octets: int | None = None
    has_size: bool = False
    eight_bit_mime: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    recipients_max: int | None = None
    mails_max: int | None = None
    auth: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Capabilities:
        """Read the lines of an EHLO reply that follow the greeting; what is malformed is not there.

        Args:
            lines: text after the code, such as "SIZE 1000". Keywords in any case, each once: the
                first counts.
        """
        offered: dict[str, list[str]] = {}
        mechanisms: set[str] = set()
        for line in lines:
            # "AUTH=LOGIN PLAIN" is how some servers said it before RFC 2554; it is still sent
            # beside the right spelling, and alone by a few.
            words = _OLD_AUTH.sub("AUTH ", line.upper()).split()
            if not words:
                continue
            if words[0] == "AUTH":
                mechanisms.update(words[1:])
            offered.setdefault(words[0], words[1:])
        limits = _limits(offered.get("LIMITS", []))
        return cls(
            pipelining="PIPELINING" in offered,
            size_octets=_number(next(iter(offered.get("SIZE", [])), "")),
            has_size="SIZE" in offered,
            eight_bit_mime="8BITMIME" in offered,
            smtputf8="SMTPUTF8" in offered,
            dsn="DSN" in offered,
            starttls="STARTTLS" in offered,
            recipients_max=limits.get("RCPTMAX"),
            mails_max=limits.get("MAILMAX"),
            auth=frozenset(mechanisms),
        )


def _limits(words: Iterable[str]) -> dict[str, int]:
    """Read name=value pairs of LIMITS; those without a usable value are left out."""
    pairs = (word.partition("=") for word in words)
    numbers = ((name, _number(value)) for name, _, value in pairs)
    return {name: number for name, number in numbers if number is not None}


def _number(text: str) -> int | None:
    """Read a limit; zero means "no fixed limit" (RFC 1870 3), as does nonsense."""
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS:
        return None
    return int(text) or None
