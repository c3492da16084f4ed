"""Size, lines, headers and MIME limits of a message as it was submitted."""

from __future__ import annotations

from gatewayd.config.limits import LimitsSection
from gatewayd.errors import Code, Refused
from gatewayd.mail import header, received, structure
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.lines import LineCheck, LineFault
from gatewayd.mail.message import RawMessage

LINE_FAULTS = {
    LineFault.BARE_CR: (Code.LINE_ENDINGS_INVALID, "a CR stands without LF"),
    LineFault.BARE_LF: (Code.LINE_ENDINGS_INVALID, "an LF stands without CR"),
    LineFault.NUL: (Code.LINE_ENDINGS_INVALID, "there is a NUL in it"),
    LineFault.TOO_LONG: (Code.LINE_TOO_LONG, "a line is longer than 998 octets"),
}


def check_size(size_octets: int, limits: LimitsSection) -> None:
    """Refuse more octets than a message may have (RFC 1870 6.1).

    Raises:
        Refused: message_too_large.
    """
    if size_octets > limits.message_octets:
        raise Refused(
            Code.MESSAGE_TOO_LARGE,
            f"a message may have {limits.message_octets} octets; this one has {size_octets}",
        )


def check(message: RawMessage, limits: LimitsSection) -> None:
    """Refuse what could not be sent on as it is.

    Raises:
        Refused: with the first rule that is broken.
    """
    check_size(message.size_octets, limits)
    subject = message.header.first("Subject") or b""
    if len(subject) > limits.subject_octets:
        raise Refused(Code.SUBJECT_TOO_LONG, f"a subject may have {limits.subject_octets} octets")
    if received.hops(message.header) > limits.received_hops:
        raise Refused(
            Code.TOO_MANY_HOPS,
            f"more than {limits.received_hops} Received fields: the message is in a loop",
        )
    _check_body(message, limits)


def check_utf8(message: RawMessage, *, smtputf8: bool) -> None:
    """Refuse a header section in raw UTF-8 where SMTPUTF8 was not asked for (RFC 6531 3.4).

    Raises:
        Refused: smtputf8_required.
    """
    if message.needs_smtputf8 and not smtputf8:
        raise Refused(
            Code.SMTPUTF8_REQUIRED,
            "the header section is not ASCII: say SMTPUTF8 in MAIL, or use encoded words",
        )


def refuse_lines(fault: LineFault) -> Refused:
    """The refusal of a message with such a line (RFC 5321 2.3.8, 4.5.3.1.6)."""
    code, what = LINE_FAULTS[fault]
    return Refused(code, f"{what}; lines end with CRLF and have at most 998 octets")


def check_header_form(section: HeaderSection, limits: LimitsSection) -> None:
    """Refuse a header section that cannot be read in one way only.

    Raises:
        Refused: header_too_large, header_invalid.
    """
    octets = section.octets
    if len(octets) > limits.header_octets or octets.count(b"\r\n") > limits.header_lines:
        raise Refused(
            Code.HEADER_TOO_LARGE,
            f"a header section may have {limits.header_octets} octets and "
            f"{limits.header_lines} lines",
        )
    if fault := header.check(octets):
        raise Refused(Code.HEADER_INVALID, fault.detail)
    if twice := header.duplicates(section):
        raise Refused(Code.HEADER_INVALID, f"{twice[0]} can stand once (RFC 5322 3.6)")


def _check_body(message: RawMessage, limits: LimitsSection) -> None:
    """Bodies in the spool were checked while they came in; MIME limits need the octets at hand."""
    body = message.body
    if message.is_checked or not isinstance(body, bytes):
        return
    check_ = LineCheck()
    check_.feed(body)
    check_.finish()
    if check_.fault is not None:
        raise refuse_lines(check_.fault)
    fault = structure.limits(
        message.header, body, nesting=limits.mime_depth, parts=limits.mime_parts
    )
    if fault is not None:
        raise Refused(
            Code.MIME_TOO_COMPLEX,
            f"a message may have {limits.mime_parts} MIME parts, {limits.mime_depth} deep",
        )
