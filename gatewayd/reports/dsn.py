"""Read a delivery status notification (RFC 3464, RFC 6533).

The fields stand in groups: one for the message, then one for each recipient, with a blank line
between. What is broken about them out there, and how it is read:

| broken                                              | read as                                   |
|-----------------------------------------------------|-------------------------------------------|
| no blank line, or blank lines inside a group        | a new Final-Recipient begins a group      |
| a wrapped line that does not begin with a space     | more of the field before it               |
| Action missing, or no word of RFC 3464 2.3.3        | from the status, then from the reply code |
| Status missing, or x.0.0                            | from the diagnostic, if it has one        |
| Final-Recipient is no address (a pipe, a DN)        | Original-Recipient, then one that the     |
|                                                     | diagnostic or the original names          |
| no diagnostic                                       | the words of the notification             |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from gatewayd.reports import addresses, diagnostic
from gatewayd.reports.bounce_class import ABOUT_ADDRESS, classify, clear_words
from gatewayd.reports.report import Action, BounceClass, Reason, ReportedRecipient, Verdict

MAX_RECIPIENTS: Final = 200  # twice what one message of ours may have
MAX_FIELDS: Final = 20_000  # of all groups
_MAX_VALUE: Final = 8192  # characters of one field

KINDS: Final = frozenset({
    "message/delivery-status", "message/global-delivery-status", "message/delivery-notification",
})  # fmt: skip

_FIELD: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]{2,40}+)[ \t]*+:[ \t]*+(.*)")
_BLANKS: Final = re.compile(r"\n{3,}+")
_KNOWN: Final = frozenset({
    "original-envelope-id", "reporting-mta", "dsn-gateway", "received-from-mta", "arrival-date",
    "original-recipient", "final-recipient", "action", "status", "remote-mta", "diagnostic-code",
    "last-attempt-date", "final-log-id", "will-retry-until", "localized-diagnostic",
    "remote-recipient",
})  # fmt: skip
_RECIPIENT: Final = ("final-recipient", "original-recipient")
_ACTIONS: Final = (
    ("fail", Action.FAILED), ("error", Action.FAILED), ("undeliver", Action.FAILED),
    ("bounce", Action.FAILED), ("delay", Action.DELAYED), ("defer", Action.DELAYED),
    ("deliver", Action.DELIVERED), ("relay", Action.RELAYED), ("expand", Action.EXPANDED),
)  # fmt: skip

Group = dict[str, str]


def groups(text: str) -> tuple[Group, list[Group]]:
    """The fields of the message, then those of each recipient; names in lower case."""
    message: Group = {}
    recipients: list[Group] = []
    current: Group = {}
    for name, value in _fields(text):
        if not name or (name == "final-recipient" and name in current):
            current = _close(current, message, recipients)
        if name:
            current.setdefault(name, value)
        if len(recipients) >= MAX_RECIPIENTS:
            return message, recipients
    _close(current, message, recipients)
    return message, recipients[:MAX_RECIPIENTS]


def looks_like_status(text: str) -> bool:
    """Whether a part that does not say so holds the fields of a delivery status."""
    lowered = text[:4096].lower()
    return "final-recipient:" in lowered and ("action:" in lowered or "status:" in lowered)


def recipient(
    group: Group, *, words: Callable[[str], str], whole: str, only_original: str, is_delay: bool
) -> ReportedRecipient:
    """One recipient of a report.

    Args:
        group: its fields, those of the message below them.
        words: what the notification says about an address, for a report without a diagnostic.
        whole: all that the notification says, "" when it is about several recipients.
        only_original: the one recipient of the original message, "" when it has several.
        is_delay: whether the report calls itself a warning.
    """
    original = addresses.typed(group.get("original-recipient", ""))
    text = group.get("diagnostic-code", "") or group.get("localized-diagnostic", "")
    final = (
        addresses.typed(group.get("final-recipient", ""))
        or original
        or addresses.first(text)
        or addresses.typed(group.get("x-actual-recipient", ""))
        or only_original
    )
    said = diagnostic.read(text)
    told = diagnostic.status_of(group.get("status", ""))
    said = replace(said, status=_status(told, said.status, said.code))
    action = _action(group.get("action", ""), said.status, said.code, is_delay=is_delay)
    verdict = classify(said.status, said.code, said.shown)
    if action is Action.FAILED and (not said.shown or verdict.reason is Reason.UNDEFINED):
        said, verdict = _from_words(said, verdict, words(final), whole)
    return ReportedRecipient(
        address=final,
        action=action,
        verdict=settle(verdict, action),
        original_address=original,
        status=said.status,
        code=said.code,
        diagnostic=said.shown,
        remote_mta=mta(group.get("remote-mta", "")),
    )


def settle(verdict: Verdict, action: Action) -> Verdict:
    """A failure without any word about it is one for good; a delay never is."""
    if action is Action.FAILED and verdict.klass is BounceClass.UNKNOWN:
        return Verdict(klass=BounceClass.PERMANENT, reason=verdict.reason)
    if action is Action.DELAYED:
        return Verdict(klass=BounceClass.TRANSIENT, reason=verdict.reason)
    return verdict


def mta(value: str) -> str:
    """The name of a Reporting-MTA or Remote-MTA field, without its type."""
    return diagnostic.shown(diagnostic.strip_type(value[:300])).split(" ")[0]


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Name and unfolded value of each field; ("", "") for each run of blank lines."""
    name, pieces, size = "", [""], 0
    left = MAX_FIELDS
    for line in _BLANKS.sub("\n\n", text).split("\n"):
        if not line or line.isspace():
            if name:
                yield name, " ".join(pieces)
            yield "", ""
            name = ""
            continue
        match = None if line[0] in " \t" else _FIELD.match(line)
        if match is not None and _begins_field(match[1].lower(), name):
            if name:
                yield name, " ".join(pieces)
            left -= 1
            if left <= 0:
                return
            name, pieces, size = match[1].lower(), [match[2].strip()[:_MAX_VALUE]], len(match[2])
        elif name and size < _MAX_VALUE:
            pieces.append(line.strip()[:_MAX_VALUE])
            size += len(line)
    if name:
        yield name, " ".join(pieces)


def _begins_field(name: str, before: str) -> bool:
    # Servers wrap their diagnostics by hand: "Remedy: ask the administrator" is more of it.
    return name in _KNOWN or name.startswith("x-") or before != "diagnostic-code"


def _close(current: Group, message: Group, recipients: list[Group]) -> Group:
    """Put a group where it belongs; gives the next, empty one."""
    if not current:
        return current
    if any(name in current for name in _RECIPIENT):
        before = recipients[-1] if recipients else None
        if before is not None and not _is_whole(before) and before.keys().isdisjoint(current):
            before.update(current)
        else:
            recipients.append(current)
        for name in ("reporting-mta", "original-envelope-id"):
            if name in current:
                message.setdefault(name, current[name])
    elif recipients and recipients[-1].keys().isdisjoint(current):
        recipients[-1].update(current)
    elif "action" in current and "status" in current:
        recipients.append(current)
    else:
        for name, value in current.items():
            message.setdefault(name, value)
    return {}


def _is_whole(group: Group) -> bool:
    return "action" in group or "status" in group


def _status(told: str, said: str, code: int | None) -> str:
    """The status that says most, of the field and of the diagnostic."""
    if told and not told.endswith(".0.0"):
        return told
    if said and not (told and said.endswith(".0.0")):
        return said
    if told:
        return told
    return f"{code // 100}.0.0" if code is not None else ""


def _action(value: str, status: str, code: int | None, *, is_delay: bool) -> Action:
    word = value.strip().lower()
    for start, action in _ACTIONS:
        if word.startswith(start):
            return action
    if is_delay:
        return Action.DELAYED
    digit = status[:1] or str(code or "")[:1]
    if digit == "2":
        return Action.DELIVERED
    return Action.DELAYED if digit == "4" and not status.endswith(".4.7") else Action.FAILED


def _from_words(
    said: diagnostic.Said, verdict: Verdict, beside: str, whole: str
) -> tuple[diagnostic.Said, Verdict]:
    """The verdict with the words of the notification, if they say more than the fields.

    What is said beside the address is about it. What else is said is asked last, and a mere hint
    in it is not believed to mean that nobody is there.
    """
    is_beside = bool(addresses.blank(beside).strip(" @<>:;.,"))
    text = beside if is_beside else whole
    if not text or (verdict.reason is not Reason.UNDEFINED and not is_beside):
        return said, verdict
    more = diagnostic.read(text)
    said = diagnostic.Said(
        status=_status(said.status, more.status, more.code),
        code=said.code or more.code,
        shown=said.shown or more.shown,
    )
    better = classify(said.status, said.code, f"{said.shown} {more.shown}")
    is_guess = not is_beside and better.reason in ABOUT_ADDRESS and clear_words(text) is None
    return said, verdict if better.reason is Reason.UNDEFINED or is_guess else better
