"""What of a text we have signed: the VERP addresses and tokens that stand in it.

An id is believed only with its MAC, wherever it is found. A report that was polled from a mailbox,
or is a file, came without an envelope, so its VERP address is looked for in the text:

| order | where                                    | such as                                       |
|-------|------------------------------------------|-----------------------------------------------|
| 1     | the header section of the returned mail  | To, Delivered-To, X-Original-To, Received     |
| 2     | the reported message                     | Return-Path                                   |
| 3     | anywhere                                 | X-Postfix-Sender of a delivery status         |

The first place that has any decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gatewayd.ids import RecipientId
from gatewayd.keys.verp import ReversePaths

FIND_LIMIT: Final = 1000  # addresses looked at in one text

_VERP: Final = re.compile(
    rb"(bounce\+[a-z2-7]{26}\.[a-z2-7]{21})@([a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,20})",
    re.IGNORECASE,
)
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")


class Signed:
    """Finds and checks; no database.

    Args:
        reverse_paths: None without a bounce domain: then no address is ours.
        find_tokens: everybody whose token of ours, of whatever kind, stands in a text.
    """

    def __init__(
        self,
        reverse_paths: ReversePaths | None,
        find_tokens: Callable[[bytes], set[RecipientId]] | None,
    ) -> None:
        self._reverse_paths = reverse_paths
        self._find_tokens = find_tokens

    def addresses(self, text: bytes) -> set[str]:
        """The ids of all authentic VERP addresses in a text, each of a recipient or a message."""
        paths = self._reverse_paths
        if paths is None:
            return set()
        domain = paths.domain.encode("ascii")
        matches = zip(_VERP.finditer(text), range(FIND_LIMIT), strict=False)
        places = {match[1] for match, _ in matches if match[2].lower() == domain}
        found = {paths.read(place.decode("ascii")) for place in places}
        return {ident for ident in found if ident is not None}

    def tokens(self, text: bytes) -> set[RecipientId]:
        return self._find_tokens(text) if self._find_tokens is not None else set()

    def first(self, octets: bytes, original: bytes) -> tuple[str, ...]:
        """The ids by the table above, for a returned mail without an envelope."""
        for text in (header_of(octets), original, octets):
            if idents := self.addresses(text):
                return tuple(sorted(idents))
        return ()


def header_of(octets: bytes) -> bytes:
    """The header section of a message, whatever its line ends."""
    end = _HEADER_END.search(octets)
    return octets if end is None else octets[: end.start() + 1]
