"""`python -m tests.bench.rewrite`: what it takes to render a newsletter for its recipients.

A newsletter of 100 KB with 60 links is compiled once and rendered for 100 recipients, in each
transfer encoding: with links that cost nothing, and with signed ones. The best of some rounds, in
milliseconds of one core; the whole has to stay under 60.
"""

from __future__ import annotations

import argparse
import datetime as dt
import time
from collections.abc import Callable

from gatewayd import ids
from gatewayd.ids import RecipientId
from gatewayd.keys.ring import Key, KeyRing, KeyState, Purpose
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.transfer_encoding import encode_base64, encode_quoted_printable
from gatewayd.tracking.links import Links
from gatewayd.tracking.rewrite import CompiledBody, compile_body

LINKS = 60
RECIPIENTS = 100
BASE_URL = "https://mail.example.com"

_CREATED_AT = dt.datetime.fromtimestamp(0, dt.UTC)

_ROW = """\
<tr><td align="left" valign="top" style="padding:12px 24px;font:14px/20px Arial,sans-serif">
<h2 style="margin:0 0 8px;font-size:18px">Story {number}</h2>
{paragraphs}\
<a href="https://www.example.com/stories/{number}?utm_source=newsletter&amp;utm_campaign=november"
 style="color:#0066cc;text-decoration:underline">Read more</a>
</td></tr>
"""
_PARAGRAPH = """\
<p style="margin:0 0 12px;color:#333333">Lorem ipsum dolor sit amet, consectetur adipiscing elit,
sed do eiusmod tempor incididunt ut labore et dolore magna aliqua caf\u00e9.</p>
"""

Click = Callable[[RecipientId], Callable[[str], str]]


def newsletter() -> bytes:
    """100 KB of HTML with 60 links."""
    rows = "".join(_ROW.format(number=number, paragraphs=_PARAGRAPH * 8) for number in range(LINKS))
    page = f"<!DOCTYPE html>\n<html><body>\n<table>\n{rows}</table>\n</body></html>\n"
    return page.replace("\n", "\r\n").encode()


def signed() -> Links:
    """Links under a key of their own."""
    key = Key(
        kid="a",
        state=KeyState.ACTIVE,
        secret=bytes(32),
        created_at=_CREATED_AT,
    )
    return Links(KeyRing(purpose=Purpose.TRACKING, keys=(key,)), BASE_URL)


def cheap(recipient_id: RecipientId) -> Callable[[str], str]:
    """Addresses as long as signed ones."""
    begin = f"{BASE_URL}/track/click/{recipient_id}?url="
    return lambda url: f"{begin}{url}&sig=0123456789abcd"


def measure(octets: bytes, encoding: str, click: Click, *, rounds: int) -> tuple[float, float]:
    """Seconds to compile once, and to render for all recipients."""
    header = HeaderSection(
        "Content-Type: text/html; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n".encode()
    )
    recipients = [ids.recipient_id(_CREATED_AT) for _ in range(RECIPIENTS)]
    best = (60.0, 60.0)
    for _ in range(rounds):
        start = time.perf_counter()
        found = compile_body(header, octets, opens=True, clicks=True, base_url=BASE_URL)
        compiled = time.perf_counter()
        _render(found, recipients, click)
        end = time.perf_counter()
        best = min(best, (compiled - start, end - compiled), key=sum)
    return best


def _render(found: CompiledBody, recipients: list[RecipientId], click: Click) -> None:
    for recipient_id in recipients:
        found.render(click(recipient_id), f"{BASE_URL}/track/open/{recipient_id}.gif")


def main() -> None:
    """Print a table of all encodings, with and without signatures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    page = newsletter()
    print(f"{len(page)} octets, {LINKS} links, {RECIPIENTS} recipients; milliseconds")  # noqa: T201 - its purpose
    wires = {
        "8bit": page,
        "quoted-printable": encode_quoted_printable(page),
        "base64": encode_base64(page),
    }
    for encoding, octets in wires.items():
        for name, click in (("cheap", cheap), ("signed", signed().clicks)):
            compiling, rendering = (
                1000 * seconds for seconds in measure(octets, encoding, click, rounds=rounds)
            )
            print(  # noqa: T201 - its purpose
                f"{encoding:16} {name:6} compile {compiling:5.1f}  render {rendering:5.1f}"
                f"  together {compiling + rendering:5.1f}"
            )


if __name__ == "__main__":
    main()
