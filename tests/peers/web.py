"""GET over HTTP from a daemon of the test's own."""

from __future__ import annotations

import urllib.request

ANSWER_S = 30.0


def fetch(url: str, *, token: str = "", within_s: float = ANSWER_S) -> bytes:
    """The body of the answer; urllib's error when it is none of 2xx."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the test's own daemon
    with urllib.request.urlopen(request, timeout=within_s) as answer:  # noqa: S310 - as above
        return bytes(answer.read())
