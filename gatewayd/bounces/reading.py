"""Read a returned message: all that can be said of it without the database. Pure.

| it is              | came to VERP, null | VERP, other   | complaints@    | no envelope           |
|--------------------|--------------------|---------------|----------------|-----------------------|
| report of delivery | its ids            | not           | not recognised | ids in the text, if   |
|                    |                    | recognised    |                | Return-Path is null   |
| report of feedback | complaint          | the same      | complaint      | complaint             |
| anything else      | not recognised     | the same      | not recognised | not recognised        |
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewayd.bounces import complaints
from gatewayd.bounces.complaints import Complaint
from gatewayd.bounces.returned import Returned, Unrecognised
from gatewayd.bounces.signed import Signed, header_of
from gatewayd.mail.address import AddressSyntaxError, ReversePath
from gatewayd.reports import read
from gatewayd.reports.parts import header_fields
from gatewayd.reports.report import Kind, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a returned message says.

    report: None where it was not worth reading.
    idents: ids whose MACs were checked, of recipients or messages: whom it is about.
    complaint: for a report of feedback.
    why: for what is not recognised whatever the database says.
    """

    returned: Returned
    report: Report | None = None
    idents: frozenset[str] = frozenset()
    complaint: Complaint | None = None
    why: Unrecognised | None = None


def reading_of(returned: Returned, signed: Signed, *, parse_octets: int) -> Reading:
    """The table above; never raises for what is in the message.

    Args:
        returned: what came back.
        signed: finds ids of ours.
        parse_octets: how much of it is looked at, from its beginning.
    """
    idents = frozenset(returned.idents)
    if idents and not returned.is_complaint and not _is_null(returned):
        return _unrecognised(returned, Unrecognised.REVERSE_PATH_NOT_NULL)
    octets = returned.octets[:parse_octets]
    report = read.read(octets)
    match report.kind:
        case Kind.ABUSE:
            complaint = complaints.read(report, signed)
            why = None if complaint.idents else Unrecognised.NOT_SIGNED
            return Reading(
                returned=returned, report=report, idents=complaint.idents | idents,
                complaint=complaint, why=why,
            )  # fmt: skip
        case Kind.AUTO_REPLY:
            return _unrecognised(returned, Unrecognised.AUTO_REPLY)
        case Kind.OTHER:
            why = Unrecognised.NOT_A_REPORT
            if returned.is_complaint and not idents:
                why = Unrecognised.NOT_A_COMPLAINT
            return _unrecognised(returned, why)
        case Kind.DSN | Kind.TEXT:
            return _of_delivery(returned, report, signed, octets)


def _of_delivery(returned: Returned, report: Report, signed: Signed, octets: bytes) -> Reading:
    idents = frozenset(returned.idents)
    if returned.is_complaint and not idents:
        return _unrecognised(returned, Unrecognised.NOT_A_COMPLAINT)
    if not _is_null(returned):
        return _unrecognised(returned, Unrecognised.REVERSE_PATH_NOT_NULL)
    idents = idents or frozenset(signed.first(octets, report.original))
    if not idents:
        return _unrecognised(returned, Unrecognised.NOT_SIGNED)
    why = None if report.recipients else Unrecognised.NOT_A_REPORT
    return Reading(returned=returned, report=report, idents=idents, why=why)


def _unrecognised(returned: Returned, why: Unrecognised) -> Reading:
    return Reading(returned=returned, idents=frozenset(returned.idents), why=why)


def _is_null(returned: Returned) -> bool:
    return reverse_path_of(returned).is_null


def reverse_path_of(returned: Returned) -> ReversePath:
    """The reverse-path of the envelope; without one, that of Return-Path; null without that."""
    if returned.reverse_path is not None:
        return returned.reverse_path
    section = header_of(returned.octets[:65536]).replace(b"\r\n", b"\n")
    value = next((value for name, value in header_fields(section) if name == "return-path"), b"")
    text = value.decode("utf-8", "replace").strip().removeprefix("<").removesuffix(">").strip()
    try:
        return ReversePath.parse(text)
    except AddressSyntaxError:
        # MAILER-DAEMON alone is what some write for the null one; the rest is not null either way.
        return ReversePath.parse("" if text.upper() == "MAILER-DAEMON" else "unreadable@invalid")
