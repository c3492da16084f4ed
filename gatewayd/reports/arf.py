"""Read an abuse report: somebody pressed "this is spam" (RFC 5965).

| form                                                          | whose                           |
|---------------------------------------------------------------|---------------------------------|
| a part message/feedback-report                                | RFC 5965: AOL, Yahoo, Yandex... |
| report-type=feedback-report, the fields in a text part        | broken, or passed on by hand    |
| "complaint about message from ...", the message attached      | Microsoft JMRP                  |
| "Client TOS Notification", "Abuse Report", message attached   | old AOL and others              |

Recipients are those that the report names, as `delivered`: the mail arrived. Providers blank them,
and whoever sends a report can write what he likes there: believe a signed token of ours in
`original` instead.
"""

from __future__ import annotations

import re
from typing import Final

from gatewayd.reports import addresses
from gatewayd.reports.origin import Origin
from gatewayd.reports.parts import Part, header_fields, split
from gatewayd.reports.report import (
    Action,
    BounceClass,
    Kind,
    Reason,
    Report,
    ReportedRecipient,
    Verdict,
)

# "not-spam" takes a complaint back, "auth-failure" (RFC 6591) is about DNS, "other" says nothing.
COMPLAINTS: Final = frozenset({"abuse", "fraud", "virus", "opt-out", "opt-out-list"})

_RECIPIENTS: Final = ("original-rcpt-to", "removal-recipient", "x-original-rcpt-to")
_IN_ORIGINAL: Final = ("x-hmxmroriginalrecipient",)
_WORD: Final = re.compile(r"[a-z][a-z-]{0,30}")
_SUBJECT: Final = re.compile(
    r"complaint about message from|client tos notification|email feedback report|fbl report"
    r"|abuse report for|spam (?:report|complaint) (?:for|from|about)|feedback loop|\[spamcop \(",
    re.IGNORECASE,
)
_SENDER: Final = re.compile(
    r"staff@hotmail|@reports\.spamcop|scomp@|fbl|feedback|abuse|complaint|spam", re.IGNORECASE
)
_MAX_FIELDS_OCTETS: Final = 32768
_MAX_RECIPIENTS: Final = 200
_UNTOLD: Final = Verdict(klass=BounceClass.UNKNOWN, reason=Reason.UNDEFINED)


def read(message: Part, leaves: tuple[Part, ...], original: bytes, origin: Origin) -> Report | None:
    """The report, or None when it is none of feedback."""
    fields = _fields(message, leaves)
    if fields is None:
        if not (original and _is_complaint(origin, original)):
            return None
        fields = (("feedback-type", b"abuse"),)
    told = [value for name, value in fields if name in _RECIPIENTS]
    inner = header_fields(split(original)[0])
    told += [value for name, value in inner if name in _IN_ORIGINAL]
    word = _WORD.match(_value(fields, "feedback-type").strip().lower())
    return Report(
        kind=Kind.ABUSE,
        recipients=_recipients(told),
        reporting_mta=_value(fields, "reporting-mta")[:200],
        original_envelope_id=_value(fields, "original-envelope-id")[:200],
        original=original,
        feedback_type=word[0] if word else "abuse",
        detector="arf",
    )


def _is_complaint(origin: Origin, original: bytes) -> bool:
    if _SUBJECT.search(origin.subject) is None:
        return False
    return _SENDER.search(origin.sender) is not None or b"\nX-HmXmrOriginal" in b"\n" + original


def _fields(message: Part, leaves: tuple[Part, ...]) -> tuple[tuple[str, bytes], ...] | None:
    is_report = message.parameters.get("report-type", "").lower() == "feedback-report"
    for part in leaves:
        if part.kind == "message/feedback-report":
            return header_fields(part.octets(_MAX_FIELDS_OCTETS).lstrip(b"\n"))
    for part in leaves if is_report else ():
        octets = part.octets(_MAX_FIELDS_OCTETS).lstrip(b"\n")
        if b"feedback-type:" in octets.lower():
            return header_fields(octets)
    return (("feedback-type", b"abuse"),) if is_report else None


def _value(fields: tuple[tuple[str, bytes], ...], wanted: str) -> str:
    return next((value.decode("utf-8", "replace") for name, value in fields if name == wanted), "")


def _recipients(told: list[bytes]) -> tuple[ReportedRecipient, ...]:
    named: dict[str, None] = {}
    for value in told[:_MAX_RECIPIENTS]:
        if address := addresses.typed(value.decode("utf-8", "replace")):
            named.setdefault(address)
    return tuple(
        ReportedRecipient(address=address, action=Action.DELIVERED, verdict=_UNTOLD)
        for address in named
    )
