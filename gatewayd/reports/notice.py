"""The words of a returned message, parted from the message that is returned with them.

A bounce says what happened, then gives the original back: as an attached message, as its header
section, or below a line in the same text. Only what stands before it was said by the reporter.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from typing import Final

from gatewayd.reports import addresses
from gatewayd.reports.parts import MAX_TEXT, Part, header_fields, split

MAX_LINES: Final = 400
MAX_COLUMNS: Final = 600
MAX_SAID: Final = 150  # lines
MAX_ABOUT: Final = 12  # lines that belong to one address

ORIGINALS: Final = frozenset({
    "message/rfc822", "message/global", "message/news", "message/partial", "message/rfc822-headers",
    "message/global-headers", "text/rfc822-headers", "text/rfc822-header", "text/rfc822",
})  # fmt: skip

# How a line begins that parts the notice from the original, rules and bullets aside.
SEPARATORS: Final = (
    "this is a copy of", "below this line", "below the next line", "below is a copy",
    "original message", "the original message", "original mail", "original e-mail",
    "original email", "original header", "old message:", "start of returned", "returned mail",
    "returned message", "unsent message", "undelivered message", "undelivered mail",
    "message header follows", "message headers follow", "message header is following",
    "message text follows", "message text is following", "message body suppressed",
    "message follows", "header of the", "headers of the", "the header of the", "the headers of the",
    "headers from the", "the header and top", "forwarded message", "a copy of the message",
    "a copy of your message", "a copy of the original", "copy of the original",
    "copy of your message", "copy of the message", "included is a copy", "attachment is a copy",
    "attached is a copy", "here is a copy", "here is your returned", "the first ",
    "your message reads", "possibly truncated original", "mensaje original", "message original",
    "text of the message", "beginning of the original", "beginning of original",
    "the following is a copy", "begin message", "rejected message", "source mail",
    "header of the source", "non-delivered message", "quoted message", "the message header",
)  # fmt: skip
_NOT_SEPARATORS: Final = ("original message was", "the original message was", "the first time")
_RULES: Final = "-=_*#~+ \t|>[("
_HEADER_LINE: Final = re.compile(
    r"(?:Received: ?(?:from|by|\()|Return-Path: ?<|Message-ID: ?<|DKIM-Signature: |X-Received: by)",
    re.IGNORECASE,
)
_ANY_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,40}: ?\S")
_GAP: Final = 200  # characters
_MAX_TO: Final = 4096
_QUOTE: Final = (">", "|")


@dataclass(frozen=True, slots=True)
class Notice:
    """What the reporter says, and what he gives back.

    lines: at most MAX_LINES, without those of the original.
    flat: the lines in lower case with one space between words.
    starts: where each line begins in flat.
    original: the message or its header section; b"" when there is none.
    original_to: whom the original is addressed to, by its header.
    """

    lines: tuple[str, ...]
    flat: str
    starts: tuple[int, ...]
    original: bytes
    original_to: tuple[str, ...]

    def find(self, phrase: str) -> int:
        """Number of the line where a phrase in lower case begins, -1 if it is not said.

        A line that is quoted is somebody else's words. `*` is a few words.
        """
        first, _, second = phrase.partition(" * ")
        at = self.flat.find(first)
        while at >= 0:
            line = bisect.bisect_right(self.starts, at) - 1
            end = at + len(first)
            if not self.lines[line].lstrip().startswith(_QUOTE) and (
                not second or self.flat.find(second, end, end + _GAP) >= 0
            ):
                return line
            # On to the next line: a hostile text repeats itself.
            next_at = self.starts[line + 1] if line + 1 < len(self.starts) else len(self.flat)
            at = self.flat.find(first, max(next_at, at + 1))
        return -1

    def depth(self, line: int) -> int:
        """How many lines that say something stand before this one."""
        return sum(1 for text in self.lines[:line] if text.strip(" -=*_"))

    def about(self, address: str) -> str:
        """What is said of an address: from its line on, until an empty line after words."""
        wanted = address.lower()
        for at, line in enumerate(self.lines):
            if wanted and wanted in line.lower():
                return " ".join(self.paragraph(at, at + MAX_ABOUT))
        return ""

    @property
    def text(self) -> str:
        """All of it, as one line."""
        return " ".join(line.strip() for line in self.lines[:MAX_SAID])

    def paragraph(self, at: int, until: int) -> list[str]:
        """Lines from this one on, until an empty line that follows a word about the address."""
        found: list[str] = []
        for line in self.lines[at : min(at + MAX_ABOUT, until)]:
            if line.strip():
                found.append(line.strip())
            elif found and not found[-1].endswith(":") and not _is_only_address(found[-1]):
                break
        return found


def of(leaves: tuple[Part, ...]) -> Notice:
    """Part the message into notice and original."""
    attached = next((part for part in leaves if _is_original(part)), None)
    if len(leaves) == 1 and leaves[0].kind not in ORIGINALS:
        attached = None  # the trace is that of the report itself
    before = leaves if attached is None else leaves[: leaves.index(attached)]
    text = _text(before, ("text/plain", "text")) or _text(before, ("text/html",))
    lines, rest = _cut(text)
    original = rest.encode() if attached is None else _returned(attached)
    flat: list[str] = []
    starts: list[int] = []
    at = 0
    for line in lines:
        words = " ".join(line.lower().split())
        flat.append(words)
        starts.append(at)
        at += len(words) + 1
    return Notice(
        tuple(lines), " ".join(flat).replace("\u2019", "'"), tuple(starts), original, _to(original)
    )


def _text(parts: tuple[Part, ...], kinds: tuple[str, ...]) -> str:
    """What the parts of these types say, "" for nothing."""
    texts: list[str] = []
    left = MAX_TEXT
    for part in parts:
        if part.kind in kinds and left > 0:
            texts.append(part.text(left))
            left -= len(texts[-1])
    text = "\n".join(texts)
    return text if text.strip() else ""


def _is_original(part: Part) -> bool:
    # Some systems attach it as it is, without a header that says so.
    return part.kind in ORIGINALS or (part.has("received") and part.has("message-id"))


def _returned(part: Part) -> bytes:
    # Without a blank line between, the header of the original is that of the part.
    is_joined = part.has("received") or part.has("message-id")
    return part.raw if is_joined else part.octets().lstrip(b"\n")


def _cut(text: str) -> tuple[list[str], str]:
    """The lines before the original, and the original."""
    every = text.replace("\r", "").split("\n")
    for at, line in enumerate(every[:MAX_LINES]):
        if _HEADER_LINE.match(line):
            return _bounded(every[:at]), "\n".join(every[at:])
        if _is_separator(line) and any(every[:at]):
            return _bounded(every[:at]), "\n".join(_from_header(every[at + 1 :]))
    return _bounded(every[:MAX_LINES]), ""


def _is_separator(line: str) -> bool:
    if "@" in line[:MAX_COLUMNS]:
        return False
    words = " ".join(line[:MAX_COLUMNS].lower().lstrip(_RULES).split())
    return words.startswith(SEPARATORS) and not words.startswith(_NOT_SEPARATORS)


def _bounded(lines: list[str]) -> list[str]:
    return [line[:MAX_COLUMNS] for line in lines]


def _from_header(lines: list[str]) -> list[str]:
    """Without the lines before the header section that says whose message it is."""
    for at, line in enumerate(lines[:20]):
        if _ANY_FIELD.match(line):
            return lines[at:]
    return []


def _to(original: bytes) -> tuple[str, ...]:
    for name, value in header_fields(split(original)[0]):
        if name == "to":
            return tuple(addresses.find(value[:_MAX_TO].decode("utf-8", "replace")))
    return ()


def _is_only_address(line: str) -> bool:
    return len(line) < 3 + len(addresses.first(line)) + 3
