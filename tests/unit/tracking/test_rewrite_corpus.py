"""tracking.rewrite against newsletters, broken pages and whole messages; html5lib is the judge.

Each document lies in tests/corpus/html with what is expected of it: the addresses that are tracked,
each once and in order, and whether it gets a pixel.
"""

from __future__ import annotations

import email
import json
import re
from pathlib import Path

import pytest

from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import RawMessage
from gatewayd.mail.transfer_encoding import encode_base64
from gatewayd.tracking.rewrite import compile_body
from tests.unit.tracking.html_oracle import (
    OPEN,
    assert_only_spliced,
    assert_same_document,
    click,
    see,
)

CORPUS = Path(__file__).parents[2] / "corpus" / "html"
PAGES = sorted(path.stem for path in CORPUS.glob("*.html"))
MESSAGES = sorted(path.stem for path in CORPUS.glob("*.eml"))
BASE_URL = "https://t.example"


def page(name: str) -> tuple[bytes, dict[str, object]]:
    octets = (CORPUS / f"{name}.html").read_bytes()
    return octets, json.loads((CORPUS / f"{name}.json").read_bytes())


def header(charset: object, encoding: str) -> HeaderSection:
    return HeaderSection(
        f"Content-Type: text/html; charset={charset}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n".encode()
    )


def decoded_parts(header_section: HeaderSection, body: bytes) -> list[tuple[str, bytes, str]]:
    """Kind, text and charset of every leaf, as the standard library reads a message."""
    message = email.message_from_bytes(header_section.octets + b"\r\n" + body)
    return [
        (part.get_content_type(), text, str(part.get_content_charset()))
        for part in message.walk()
        if isinstance(text := part.get_payload(decode=True), bytes)
    ]


@pytest.mark.parametrize("name", PAGES)
def test_page_is_the_same_document(name: str) -> None:
    """But for hrefs that lead where they led, and one pixel."""
    octets, expected = page(name)

    found = compile_body(
        header(expected["charset"], "binary"), octets, opens=True, clicks=True, base_url=BASE_URL
    )

    result = found.render(click, OPEN)
    charset = str(expected["charset"])
    assert_same_document(octets, result, charset)
    assert_only_spliced(octets, result)
    assert expected["clicks"] == list(found.urls)
    assert int(bool(expected["pixel"])) == see(result, charset).pixels


@pytest.mark.parametrize("name", PAGES)
def test_page_is_rewritten_alike_in_every_encoding(name: str) -> None:
    """What stands on the wire decodes to what a part in 8bit becomes."""
    octets, expected = page(name)
    plain = compile_body(header(expected["charset"], "8bit"), octets, opens=True, clicks=True)
    result = plain.render(click, OPEN)

    for encoding, wire in (
        ("base64", encode_base64(octets)),
        ("quoted-printable", quoted_printable(octets)),
    ):
        section = header(expected["charset"], encoding)
        found = compile_body(section, wire, opens=True, clicks=True)
        rendered = found.render(click, OPEN)
        assert [result] == [text for _, text, _ in decoded_parts(section, rendered)]
        assert max(map(len, rendered.split(b"\r\n"))) <= 76


def quoted_printable(octets: bytes) -> bytes:
    """All that is not a letter or a line end is escaped; soft breaks after 72 octets at most."""
    lines = [
        re.sub(rb"[^0-9A-Za-z]", lambda match: b"=%02X" % match[0][0], line)
        for line in octets.split(b"\r\n")
    ]
    return b"\r\n".join(b"=\r\n".join(re.findall(rb"(?:=..|[^=]){1,24}", line)) for line in lines)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_not_rewritten_twice(name: str) -> None:
    """Our links stay, and there is one pixel."""
    octets, expected = page(name)
    section = header(expected["charset"], "binary")
    once = compile_body(section, octets, opens=True, clicks=True).render(click, OPEN)

    for base_url in ("", BASE_URL):
        assert not compile_body(
            section, once, opens=True, clicks=True, base_url=base_url
        ).is_changed


@pytest.mark.parametrize("name", MESSAGES)
def test_message_changes_in_its_html_alone(name: str) -> None:
    """Headers, boundaries and all other parts stay; the HTML is the same document."""
    message = RawMessage.parse((CORPUS / f"{name}.eml").read_bytes())
    expected = json.loads((CORPUS / f"{name}.json").read_bytes())
    assert isinstance(message.body, bytes)

    found = compile_body(message.header, message.body, opens=True, clicks=True)

    result = found.render(click, OPEN)
    assert expected == {"clicks": list(found.urls), "pixel": found.has_pixel}
    assert found.is_changed == (result != message.body)
    pixels = 0
    before, after = (decoded_parts(message.header, body) for body in (message.body, result))
    for (kind, old, charset), (new_kind, new, _) in zip(before, after, strict=True):
        assert kind == new_kind
        if old != new:
            assert kind == "text/html"
            assert_same_document(old, new, charset)
            pixels += see(new, charset).pixels
    assert int(expected["pixel"]) == pixels


@pytest.mark.parametrize("name", MESSAGES)
def test_message_keeps_its_lines_short(name: str) -> None:
    """No line grows beyond 998 octets, however long an address is (RFC 5322 2.1.1)."""
    message = RawMessage.parse((CORPUS / f"{name}.eml").read_bytes())
    assert isinstance(message.body, bytes)
    found = compile_body(message.header, message.body, opens=True, clicks=True)

    for times in (1, 10, 20, 40):

        def longer(url: str, times: int = times) -> str:
            return click(url * times)

        result = found.render(longer, OPEN)
        assert max(map(len, result.split(b"\r\n"))) <= 998
