"""The octets of a message/rfc822 body to a RawMessage: bounded, CRLF only.

The same faults have the same codes as after DATA (`smtpd/data.py`): what the doors read, they
check themselves, and what a message says is left to policy.
"""

from __future__ import annotations

from typing import Final

from gatewayd.errors import Code, Refused
from gatewayd.mail import header
from gatewayd.mail.lines import LineCheck, LineFault
from gatewayd.mail.message import RawMessage

_LINES: Final = {
    LineFault.BARE_CR: (Code.LINE_ENDINGS_INVALID, "The message has a CR without LF."),
    LineFault.BARE_LF: (
        Code.LINE_ENDINGS_INVALID,
        "The message has an LF without CR; every line must end with CRLF.",
    ),
    LineFault.NUL: (Code.LINE_ENDINGS_INVALID, "The message has a NUL octet; encode it."),
    LineFault.TOO_LONG: (
        Code.LINE_TOO_LONG,
        "The message has a line of over 998 octets; encode it.",
    ),
}


def parse(octets: bytes, *, header_octets: int) -> RawMessage:
    """The message; a last line without CRLF is given one.

    Raises:
        Refused: line endings, line length, the size or the form of the header section.
    """
    check = LineCheck()
    check.feed(octets)
    check.finish()
    if check.fault is not None:
        raise Refused(*_LINES[check.fault])
    if not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    message = RawMessage.parse(octets)
    if len(message.header.octets) > header_octets:
        raise Refused(
            Code.HEADER_TOO_LARGE, f"The header section may have at most {header_octets} octets."
        )
    fault = header.check(message.header.octets)
    if fault is not None:
        raise Refused(Code.HEADER_INVALID, f"In the message, {fault.detail}.")
    return message
