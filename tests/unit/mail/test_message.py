"""mail.message: where a header section ends, and what the next hop must be able to take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import RawMessage, SpooledBody, split_header


@pytest.mark.parametrize(
    ("octets", "parts"),
    [
        (b"A: b\r\n\r\nbody\r\n", (b"A: b\r\n", b"body\r\n")),
        (b"A: b\r\n\r\n", (b"A: b\r\n", b"")),
        (b"A: b\r\n\r\n\r\nx", (b"A: b\r\n", b"\r\nx")),
        (b"\r\nbody", (b"", b"body")),
        (b"\r\n", (b"", b"")),
        (b"A: b\r\n", None),
        (b"A: b\r\n\r", None),
        (b"", None),
        (b"A: b\n\nbody", None),
    ],
)
def test_split_header_ends_at_the_first_blank_line(
    octets: bytes, parts: tuple[bytes, bytes] | None
) -> None:
    """CRLF only: an LF alone ends nothing (RFC 5322 2.1)."""
    assert parts == split_header(octets)


@given(st.lists(st.sampled_from([b"\r\n", b"A: b", b"x"]), max_size=8).map(b"".join))
def test_parse_when_put_together_again_then_octets_are_the_same(octets: bytes) -> None:
    """Header section, blank line, body: nothing is lost, changed or added between."""
    message = RawMessage.parse(octets)
    whole = message.header.octets + b"\r\n" + message.body  # type: ignore[operator]  # bytes here

    if split_header(octets) is None:
        assert whole in (octets + b"\r\n", octets + b"\r\n\r\n")
    else:
        assert octets == whole
    assert len(whole) == message.size_octets


@pytest.mark.parametrize(
    ("octets", "has_8bit", "needs_smtputf8"),
    [
        (b"A: b\r\n\r\nbody\r\n", False, False),
        (b"A: b\r\n\r\nb\xc3\xb6dy\r\n", True, False),
        ("A: ö\r\n\r\nbody\r\n".encode(), True, True),
    ],
)
def test_facts_when_octets_are_over_127_then_name_what_the_next_hop_needs(
    octets: bytes, has_8bit: bool, needs_smtputf8: bool
) -> None:
    """8BITMIME for a body, SMTPUTF8 and 8BITMIME for a header section (RFC 6531 3.6)."""
    message = RawMessage.parse(octets)

    assert (has_8bit, needs_smtputf8) == (message.has_8bit, message.needs_smtputf8)


def test_facts_when_body_is_spooled_then_come_from_its_record() -> None:
    """Nobody reads the file to learn its size."""
    body = SpooledBody(key="k", size_octets=1000, sha256="00" * 32, has_8bit=True)
    message = RawMessage(HeaderSection(b"A: b\r\n"), body)

    assert message.size_octets == 1008
    assert message.has_8bit
    assert not message.needs_smtputf8
