"""Read bounces that are not DSNs.

`forms.py` is the table. A form is taken when one of its openings stands in the notice and the signs
of `origin.py` allow it; then its shapes are tried in order, from the opening on:

| shape    | finds                                                  | as in                     |
|----------|--------------------------------------------------------|---------------------------|
| brackets | `<ann@example.com>` at the start of a line             | qmail, Yahoo, Postfix     |
| alone    | an address alone on its line, bullets and colon aside  | Exim, Gmail, Notes        |
| lead     | an address, then words                                 | OpenSMTPD, Exchange, Zoho |
| label    | `Recipient:`, `RCPT TO:`, `To:` and the address        | hMailServer, James        |
| here     | the first address from the opening's own line on       | IMail, DragonFly, Cisco   |
| any      | any address in the lines after                         | the rest                  |

| form     | taken when                                                                      |
|----------|---------------------------------------------------------------------------------|
| sure     | any sign of a bounce; if only the subject says it, the text must begin so       |
| other    | From is a mail system, or the reverse-path is null and the subject says bounce  |

X-Failed-Recipients (Exim, Gmail) names recipients without any form. What no form fits is shown to
flufl.bounce, if From and subject both say bounce. A recipient that nobody names is the one to whom
the original is addressed, if there is only one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gatewayd.reports import addresses, diagnostic, dsn, fallback
from gatewayd.reports.bounce_class import ABOUT_ADDRESS, classify, clear_words
from gatewayd.reports.forms import FORMS, Form, Shape
from gatewayd.reports.notice import Notice
from gatewayd.reports.origin import Origin
from gatewayd.reports.parts import Part
from gatewayd.reports.report import Action, Kind, Reason, Report, ReportedRecipient, Verdict

MAX_RECIPIENTS: Final = 200
_MAX_FORMS: Final = 12  # that are tried; real notices have at most three
_TOP_LINES: Final = 8
_AFTER: Final = 150  # lines that are searched after an opening
_NEAR: Final = 4
_NEAR_ANY: Final = 25

_BULLET: Final = " \t>*\"'-\u30fb\u2022"
_BRACKETS: Final = re.compile(
    r"(?:[^\s<>]{1,20}+ )?<(?:mailto:|smtp:)?([^<>\s@]{1,128}+@[^<>\s]{1,255}+)>", re.IGNORECASE
)
_LABEL: Final = re.compile(
    r"(?:[A-Za-z<>-]{2,20}+ ){0,3}?(?:[A-Za-z-]{0,12}recipients?|address(?:ed to)?|rcpt[ -]?to|rcpt"
    r"|mailbox|error-for|user|for|to)\s?[:=]\s?[\[<\"' ]{0,4}(?:smtp:|mailto:|rfc822;)?",
    re.IGNORECASE,
)
_ALIAS: Final = re.compile(
    r"\((?:ultimately )?(?:generated|expanded|forwarded|redirected)? ?(?:from|was|originally to):?"
    r" <?([^\s<>()]{1,128}@[^\s<>()]{1,255})>?\)",
    re.IGNORECASE,
)
_SYSTEMS: Final = ("postmaster@", "mailer-daemon@", "abuse@", "support@", "helpdesk@", "mailto:")
_REJECTED: Final = "was automatically rejected:"  # by Dovecot, in the shape of a receipt
_STILL: Final = (
    "has not yet been delivered", "delivery attempts will continue", "will continue to try",
    "will continue trying", "will continue to attempt", "warning message only", "just a warning",
    "only a warning", "this is a warning only", "you do not need to resend",
    "no action is required", "will be retried", "still trying",
)  # fmt: skip
_OVER: Final = (
    "permanent error",
    "failed permanently",
    "permanent failure",
    "given up",
    "giving up",
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A recipient and the line that names it; -1 when the notice does not."""

    address: str
    line: int


def is_rejection(message: Part) -> bool:
    """Whether a receipt is the way in which Dovecot bounces."""
    return any(
        part.kind == "text/plain" and _REJECTED in part.text(limit=2048) for part in message.parts
    )


def read(message: Part, origin: Origin, notice: Notice) -> Report | None:
    """The report, or None when the message is no bounce in a form that is known."""
    named = addresses.find(message.shown("x-failed-recipients"), limit=MAX_RECIPIENTS)
    if not origin.is_bounce_like and not (named and not origin.is_answer):
        return None
    form, start = _form(notice, origin)
    found = [_Found(address, _line_of(notice, address)) for address in named]
    detector = "x-failed-recipients"
    if not found and form is not None:
        found, detector = _recipients(form, notice, start, origin), form.name
    is_delay = (form is not None and form.is_delay) or _is_still_tried(notice)
    if not found and (
        form is not None or (origin.is_report or (origin.is_system and origin.says_bounce))
    ):
        temporary, permanent = fallback.find(message, "\n".join(notice.lines))
        found = [_Found(address, _line_of(notice, address)) for address in permanent or temporary]
        is_delay = is_delay or bool(temporary and not permanent)
        detector = "flufl.bounce" if found else detector
    if not found:
        found = _unnamed(form, notice, origin)
    if not found:
        return None
    action = Action.DELAYED if is_delay else Action.FAILED
    whole = _Whole(notice)
    recipients = [_recipient(each, found, notice, whole, action) for each in found]
    return Report(kind=Kind.TEXT, recipients=tuple(recipients), detector=detector)


def _is_still_tried(notice: Notice) -> bool:
    if any(notice.find(words) >= 0 for words in _OVER):
        return False
    return any(notice.find(words) >= 0 for words in _STILL)


def _form(notice: Notice, origin: Origin) -> tuple[Form | None, int]:
    """The first form that is allowed and names a recipient, or the first that is allowed."""
    fallen: tuple[Form | None, int] = (None, 0)
    tries = _MAX_FORMS
    for form in FORMS:
        for opening in form.openings:
            at = notice.find(opening)
            if at < 0 or not _is_allowed(form, at, notice, origin):
                continue
            tries -= 1
            if _recipients(form, notice, at, origin):
                return form, at
            if fallen[0] is None:
                fallen = form, at
            if tries <= 0:
                return fallen
    return fallen


def _is_allowed(form: Form, at: int, notice: Notice, origin: Origin) -> bool:
    if origin.is_report:
        return True
    begins = notice.depth(at) < _TOP_LINES
    if origin.is_answer:  # from a system, or it would not have come so far
        return begins
    if origin.is_system:
        is_returned = bool(notice.original) and not (origin.is_in_thread or origin.is_list)
        return origin.says_bounce or origin.is_null or form.is_sure or is_returned
    if origin.is_null and origin.says_bounce:
        return True
    return form.is_sure and begins and not origin.is_in_thread


def _recipients(form: Form, notice: Notice, start: int, origin: Origin) -> list[_Found]:
    for shape in form.shapes:
        if found := _shaped(shape, notice, start, origin):
            return found[:MAX_RECIPIENTS]
    return []


def _shaped(shape: Shape, notice: Notice, start: int, origin: Origin) -> list[_Found]:
    """Recipients in one shape, each once."""
    reach = {Shape.HERE: _NEAR, Shape.ANY: _NEAR_ANY}.get(shape, _AFTER)
    found: dict[str, _Found] = {}
    for at in range(start, min(start + reach, len(notice.lines))):
        line = notice.lines[at]
        if "@" not in line:
            continue
        address = _in_line(shape, line)
        if not address or _is_foreign(address, shape, origin):
            continue
        found.setdefault(address.lower(), _Found(address, at))
        if shape is Shape.HERE or len(found) >= MAX_RECIPIENTS:
            break
    return list(found.values())


def _in_line(shape: Shape, line: str) -> str:
    text = line.lstrip(_BULLET)
    match shape:
        case Shape.BRACKETS:
            match = _BRACKETS.match(text)
            return match[1] if match else ""
        case Shape.ALONE:
            address = addresses.first(text)
            rest = text.replace(address, "", 2) if address else "x"
            return (
                address if not rest.replace("mailto:", "").strip(" \t<>\"'[]():;.,=20*-\\") else ""
            )
        case Shape.LEAD:
            address = addresses.first(text[:400])
            return address if address and text.lstrip("<\"'").startswith(address) else ""
        case Shape.LABEL:
            match = _LABEL.match(text)
            address = addresses.first(text[match.end() :][:400]) if match else ""
            is_next = match is not None and text.startswith(address, match.end())
            return address if is_next else ""
        case Shape.HERE | Shape.ANY:
            return addresses.first(text)


def _is_foreign(address: str, shape: Shape, origin: Origin) -> bool:
    """Whether it is an address of the reporter's or of ours, and not whom it is about."""
    lowered = address.lower()
    if shape in (Shape.BRACKETS, Shape.ALONE):
        return lowered.startswith(_SYSTEMS)
    return lowered in origin.to or lowered.startswith(_SYSTEMS)


def _line_of(notice: Notice, address: str) -> int:
    lowered = address.lower()
    return next((at for at, line in enumerate(notice.lines) if lowered in line.lower()), -1)


def _unnamed(form: Form | None, notice: Notice, origin: Origin) -> list[_Found]:
    if form is None or not (origin.is_system or origin.is_null or origin.is_report):
        return []
    if len(notice.original_to) == 1 and notice.original_to[0].lower() not in origin.to:
        return [_Found(notice.original_to[0], -1)]
    return [_Found("", -1)] if form.is_sure and (origin.says_bounce or origin.is_null) else []


class _Whole:
    """What the whole notice says, for recipients of whom it says nothing in particular."""

    def __init__(self, notice: Notice) -> None:
        self.text = notice.text
        self.said = diagnostic.read(self.text)
        self.is_clear = clear_words(self.text) is not None


def _recipient(
    each: _Found, every: list[_Found], notice: Notice, whole: _Whole, action: Action
) -> ReportedRecipient:
    words = _words(each, every, notice)
    said = diagnostic.read(words)
    verdict = classify(said.status, said.code, words)
    is_vague = not said.status and said.code is None and clear_words(words) is None
    if verdict.reason is Reason.UNDEFINED or (is_vague and len(every) == 1):
        said, verdict = _from_whole(said, verdict, whole)
    elif len(every) == 1:
        said = _filled(said, whole.said)
        verdict = classify(said.status, said.code, words)
    alias = _ALIAS.search(" ".join(notice.lines[max(each.line, 0) : each.line + 3])[:1000])
    return ReportedRecipient(
        address=each.address,
        original_address=alias[1] if alias and each.line >= 0 else "",
        action=action,
        verdict=dsn.settle(verdict, action),
        status=said.status,
        code=said.code,
        diagnostic=said.shown,
    )


def _from_whole(
    said: diagnostic.Said, verdict: Verdict, whole: _Whole
) -> tuple[diagnostic.Said, Verdict]:
    """What the notice says of a recipient, where the words beside its address say little.

    A mere hint in words about everything is not believed to mean that nobody is there.
    """
    said = _filled(said, whole.said)
    better = classify(said.status, said.code, whole.text)
    if whole.is_clear or (
        better.reason not in ABOUT_ADDRESS and verdict.reason is Reason.UNDEFINED
    ):
        return said, better
    return said, classify(said.status, said.code, said.shown) if said.shown else verdict


def _filled(said: diagnostic.Said, whole: diagnostic.Said) -> diagnostic.Said:
    return diagnostic.Said(
        status=said.status or whole.status,
        code=said.code or whole.code,
        shown=said.shown or whole.shown,
    )


def _words(each: _Found, every: list[_Found], notice: Notice) -> str:
    """What is said about one recipient: the words after its address, then other mentions."""
    if each.line < 0:
        return ""
    others = {other.line for other in every if other.line > each.line}
    lines = notice.paragraph(each.line, min(others, default=len(notice.lines)))
    lowered = each.address.lower()
    for line in notice.lines[each.line + 1 :]:
        if lowered in line.lower() and line.strip() not in lines:
            lines.append(line.strip())
            if len(lines) > 20:
                break
    text = " ".join(lines)
    return text.replace(each.address, "", 1).lstrip(" \t<>:;\"'")
