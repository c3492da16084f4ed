"""What a remote said, out of the words that surround it: reply code, status, one line to keep."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_SHOWN: Final = 512  # characters
_MAX_READ: Final = 4096

_TYPE: Final = re.compile(r"\s*+(?:x-)?[A-Za-z0-9-]{1,24}+\s*+;\s*+")
_STATUS: Final = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d]|\.\d)")
# 550, `550-5.1.1`, `(#550)`: a code begins a word and is followed by its text.
_CODE: Final = re.compile(r"(?<![\w.:/=+@-])([245][0-5]\d)(?=[ \-:,;)\]#.]|\Z)(?!\.\d)")
_SAID: Final = re.compile(
    r"(?:said|says|reply|replied|answered|response|responded|error|<<<|returned|code)"
    r"[^\w\n]{0,8}+([245][0-5]\d)(?=[ \-:,;)\]#.]|\Z)",
    re.IGNORECASE,
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SPACE: Final = re.compile(r"[ \t\r\n]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the words of a diagnostic tell. status and shown may be "", code None."""

    status: str = ""
    code: int | None = None
    shown: str = ""


def read(text: str) -> Said:
    """Read a diagnostic: of several replies the last that refuses for good counts."""
    text = strip_type(text[:_MAX_READ])
    return Said(status=status_in(text), code=code_in(text), shown=shown(text))


def strip_type(text: str) -> str:
    """The text without `smtp;` before it (RFC 3464 2.3.6)."""
    match = _TYPE.match(text)
    return text[match.end() :] if match else text


def code_in(text: str) -> int | None:
    codes = [int(code) for code in _SAID.findall(text)] or [
        int(code) for code in _CODE.findall(text)
    ]
    refused = [code for code in codes if code >= 500] or [code for code in codes if code >= 400]
    return refused[-1] if refused else None


def status_in(text: str) -> str:
    """The enhanced status that says most: permanent before transient, 5.1.1 before 5.1.0."""
    found = [
        (klass, int(subject), int(detail))
        for klass, subject, detail in _STATUS.findall(text)
        if int(subject) <= 7 and klass != "2"
    ]
    if not found:
        return ""
    best = max(found, key=lambda status: (status[0], status[2] != 0, status[1] != 0))
    return f"{best[0]}.{best[1]}.{best[2]}"


def status_of(value: str) -> str:
    """The status of a Status field, "" if it has none: `5.1.1 (user unknown)`, `5.1.1.`."""
    match = _STATUS.search(value[:200])
    return f"{match[1]}.{int(match[2])}.{int(match[3])}" if match else ""


def shown(text: str) -> str:
    """One line of at most MAX_SHOWN characters, control characters escaped."""
    line = _SPACE.sub(" ", text[:_MAX_READ]).strip()
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", line)[:MAX_SHOWN]
