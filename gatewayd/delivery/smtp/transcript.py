"""Transcript: what was said in an attempt, without addresses, secrets or content; at most 4 KiB."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from gatewayd.mail.reply import Reply

TRANSCRIPT_OCTETS: Final = 4096
_CUT: Final = "(...)"
# What looks like an address in a peer's words; each part bounded, so that time is linear.
_ADDRESS: Final = re.compile(r"[^\s<>()\"',;:]{1,64}@[^\s<>()\"',;:]{1,255}")

Redact = Callable[[str], str]


class Transcript:
    """Lines of ours (`C:`), of the peer (`S:`), and remarks in parentheses.

    Args:
        redact: an address as it may be kept.
    """

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self._lines: list[str] = []

    def address(self, text: str) -> str:
        """An address as it may be shown; the null reverse-path is none."""
        return self._redact(text) if text else ""

    def say(self, text: str) -> None:
        """A line of ours, in which addresses went through `address`."""
        self._lines.append(f"C: {text}")

    def hear(self, reply: Reply) -> None:
        self._lines.append(f"S: {self._safe(str(reply))}")

    def remark(self, text: str) -> None:
        self._lines.append(f"({self._safe(text)})")

    def opening(self, lines: Iterable[str]) -> None:
        """How the session began, as the connection remembers it."""
        self._lines.extend(map(self._safe, lines))

    def __str__(self) -> str:
        text = "\n".join(self._lines)
        octets = text.encode()
        if len(octets) <= TRANSCRIPT_OCTETS:
            return text
        # How it began and how it ended say more than a hundred RCPT in between.
        half = (TRANSCRIPT_OCTETS - len(_CUT) - 2) // 2
        head = octets[:half].decode(errors="ignore").rpartition("\n")[0]
        tail = octets[-half:].decode(errors="ignore").partition("\n")[2]
        return f"{head}\n{_CUT}\n{tail}"

    def _safe(self, text: str) -> str:
        if "@" not in text:
            return text
        return _ADDRESS.sub(lambda match: self._redact(match[0]), text)
