"""Status, reply code and words of a refusal to a Verdict: what it means, and whether it passes.

Words come first where they are clear, because statuses lie: 5.7.1 is said of unknown users, 5.1.1
of blocked senders, 5.0.0 of everything, and 5.2.2 of a mailbox that is empty next week. The first
that knows decides:

1. the words of `refusal_words.CLEAR`; addresses are taken out first, nobody is a spammer by name
2. a status that says something in particular: `STATUSES` (RFC 3463)
3. the words of `refusal_words.HINTS`
4. the subject of the status: `SUBJECTS` (RFC 3463)
5. the reply code: `CODES` (RFC 5321 4.2.3)

| reason                                        | class                                       |
|-----------------------------------------------|---------------------------------------------|
| mailbox_full, rate_limited, expired, network  | transient, whatever the status              |
| user_unknown by clear words                   | permanent, unless the status is 4.y.z and   |
|                                               | the words are HEDGED: "for now"             |
| all others                                    | first digit of the status, of the code;     |
|                                               | without both: permanent, unless in UNSAID   |

Linear: a text is cut at MAX_TEXT characters, phrases are found by substring search.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from gatewayd.reports import addresses
from gatewayd.reports.refusal_words import CLEAR, HEDGED, HINTS, Rows
from gatewayd.reports.report import BounceClass, Reason, Verdict

MAX_TEXT: Final = 2048
_GAP: Final = 60  # characters between the pieces of a phrase
_MAX_TRIES: Final = 8  # occurrences of the first piece

PASSING: Final = frozenset({
    Reason.MAILBOX_FULL, Reason.RATE_LIMITED, Reason.EXPIRED, Reason.NETWORK,
})  # fmt: skip

# What is said of an address; the other reasons are about us, the message or a machine.
ABOUT_ADDRESS: Final = frozenset({
    Reason.USER_UNKNOWN, Reason.HOST_UNKNOWN, Reason.INACTIVE, Reason.MOVED,
})  # fmt: skip

# By subject and detail.
STATUSES: Final[dict[tuple[int, int], Reason]] = {
    (1, 0): Reason.USER_UNKNOWN,
    (1, 1): Reason.USER_UNKNOWN,
    (1, 2): Reason.HOST_UNKNOWN,
    (1, 3): Reason.USER_UNKNOWN,
    (1, 4): Reason.USER_UNKNOWN,
    (1, 6): Reason.MOVED,
    (1, 7): Reason.POLICY,  # about the sender
    (1, 8): Reason.POLICY,  # about the sender
    (1, 9): Reason.PROTOCOL,
    (1, 10): Reason.HOST_UNKNOWN,  # null MX; Exchange says it of recipients
    (2, 1): Reason.INACTIVE,
    (2, 2): Reason.MAILBOX_FULL,
    (2, 3): Reason.TOO_LARGE,
    (3, 4): Reason.TOO_LARGE,
    (4, 6): Reason.LOOP,
    (4, 7): Reason.EXPIRED,
    (5, 3): Reason.RATE_LIMITED,
    (7, 13): Reason.INACTIVE,
    (7, 17): Reason.MOVED,
    (7, 18): Reason.MOVED,
    (7, 20): Reason.AUTH_FAILURE,
    (7, 21): Reason.AUTH_FAILURE,
    (7, 22): Reason.AUTH_FAILURE,
    (7, 23): Reason.AUTH_FAILURE,
    (7, 24): Reason.AUTH_FAILURE,
    (7, 25): Reason.BLOCKED,
    (7, 26): Reason.AUTH_FAILURE,
    (7, 28): Reason.RATE_LIMITED,
    (7, 29): Reason.AUTH_FAILURE,
}

# By subject, after the hints; (4, 4) is used for too many things to come before them.
SUBJECTS: Final[dict[tuple[int, int | None], Reason]] = {
    (4, 4): Reason.HOST_UNKNOWN,
    (3, None): Reason.SYSTEM,
    (4, None): Reason.NETWORK,
    (5, None): Reason.PROTOCOL,
    (6, None): Reason.CONTENT,
    (7, None): Reason.POLICY,
}

CODES: Final[dict[int, Reason]] = {
    421: Reason.NETWORK,
    450: Reason.SYSTEM,
    451: Reason.SYSTEM,
    452: Reason.SYSTEM,
    455: Reason.PROTOCOL,
    500: Reason.PROTOCOL,
    501: Reason.PROTOCOL,
    502: Reason.PROTOCOL,
    503: Reason.PROTOCOL,
    504: Reason.PROTOCOL,
    521: Reason.HOST_UNKNOWN,  # accepts no mail (RFC 7504)
    530: Reason.POLICY,
    535: Reason.POLICY,
    551: Reason.USER_UNKNOWN,  # user not local
    552: Reason.MAILBOX_FULL,
    556: Reason.HOST_UNKNOWN,  # its domain accepts no mail (RFC 7504)
}

# A refusal for one of these, told without status and code, may be for good or not.
UNSAID: Final = frozenset({Reason.SYSTEM, Reason.PROTOCOL, Reason.UNDEFINED})

_REPLY: Final = re.compile(r"(?<![\w.])[245]\d\d[ -](?:#?[245]\.\d{1,3}\.\d{1,3}[ -])?+")
_STATUS: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})", re.ASCII)
_MARKS: Final = str.maketrans(dict.fromkeys('()[]{}",;*<>|=\t\r\n', " ") | {"\u2019": "'"})


def classify(status: str, code: int | None, text: str) -> Verdict:
    """What a refusal means; see the table of this file.

    Args:
        status: enhanced status, "" when there is none.
        code: reply code, None when there is none.
        text: what the remote said, with or without both.
    """
    return _classify(status, code, _folded(text))


def clear_words(text: str) -> Reason | None:
    """The reason that the words alone tell, None if they tell none."""
    return _by_words(_folded(text), _CLEAR)


@functools.lru_cache(maxsize=1024)
def _classify(status: str, code: int | None, text: str) -> Verdict:
    clear = _by_words(text, _CLEAR)
    reason = clear or _by_status(status) or _by_words(text, _HINTS) or _by_subject(status, code)
    if reason in PASSING:
        return Verdict(klass=BounceClass.TRANSIENT, reason=reason)
    klass = _class(status, code, reason)
    if clear is Reason.USER_UNKNOWN and klass is not BounceClass.PERMANENT and not _is_hedged(text):
        klass = BounceClass.PERMANENT
    return Verdict(klass=klass, reason=reason)


def _class(status: str, code: int | None, reason: Reason) -> BounceClass:
    digit = status[:1] or str(code or "")[:1]
    if digit == "5":
        return BounceClass.PERMANENT
    if digit == "4":
        return BounceClass.TRANSIENT
    return BounceClass.UNKNOWN if reason in UNSAID else BounceClass.PERMANENT


def _is_hedged(text: str) -> bool:
    return any(word in text for word in HEDGED)


def _by_status(status: str) -> Reason | None:
    match = _STATUS.fullmatch(status)
    return STATUSES.get((int(match[2]), int(match[3]))) if match else None


def _by_subject(status: str, code: int | None) -> Reason:
    match = _STATUS.fullmatch(status)
    subject, detail = (int(match[2]), int(match[3])) if match else (0, 0)
    told = SUBJECTS.get((subject, detail)) or SUBJECTS.get((subject, None))
    return told or CODES.get(code or 0) or Reason.UNDEFINED


def _by_words(text: str, rows: _Pieces) -> Reason | None:
    for reason, phrases in rows:
        for first, rest in phrases:
            if first in text and (not rest or _stands(first, rest, text)):
                return reason
    return None


def _stands(first: str, rest: tuple[str, ...], text: str) -> bool:
    """Whether the pieces of a phrase follow each other, each within the gap."""
    at = text.find(first)
    for _ in range(_MAX_TRIES):
        if at < 0:
            return False
        end = at + len(first)
        for piece in rest:
            found = text.find(piece, end, end + _GAP + len(piece))
            if found < 0:
                break
            end = found + len(piece)
        else:
            return True
        at = text.find(first, at + 1)
    return False


def _folded(text: str) -> str:
    """Lower case, one space, no marks, no addresses, no codes between the lines of a reply."""
    words = addresses.blank(text[:MAX_TEXT]).lower()
    words = " ".join(words.translate(_MARKS).split())
    return f" {_REPLY.sub('', words)} ".replace(". ", " ")


_Pieces = tuple[tuple[Reason, tuple[tuple[str, tuple[str, ...]], ...]], ...]


def _pieces(rows: Rows) -> _Pieces:
    """The phrases, parted at their gaps."""
    return tuple(
        (reason, tuple((first, tuple(rest)) for first, *rest in (p.split(" * ") for p in phrases)))
        for reason, phrases in rows
    )


_CLEAR: Final = _pieces(CLEAR)
_HINTS: Final = _pieces(HINTS)
