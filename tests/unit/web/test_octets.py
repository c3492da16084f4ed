"""web.api.octets: a message/rfc822 body."""

from __future__ import annotations

import pytest

from gatewayd.errors import Refused
from gatewayd.web.api import octets


def test_header_and_body_are_kept_as_they_came() -> None:
    """Received octets are never written anew."""
    message = octets.parse(b"From: a@b.example\r\nX:  y\r\n\r\nbody\r\n", header_octets=100)

    assert message.header.octets == b"From: a@b.example\r\nX:  y\r\n"
    assert message.body == b"body\r\n"


@pytest.mark.parametrize(
    ("sent", "header", "body"),
    [
        (b"A: b\r\n\r\nbody", b"A: b\r\n", b"body\r\n"),
        (b"A: b", b"A: b\r\n", b""),
        (b"\r\nbody\r\n", b"", b"body\r\n"),
    ],
)
def test_what_is_not_ended_is_ended(sent: bytes, header: bytes, body: bytes) -> None:
    """SMTP would send that CRLF in any case (RFC 5321 4.1.1.4)."""
    message = octets.parse(sent, header_octets=100)

    assert (header, body) == (message.header.octets, message.body)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"A: b\n\nbody\n", "line_endings_invalid"),
        (b"A: b\r\n\r\nbo\rdy\r\n", "line_endings_invalid"),
        (b"A: b\r\n\r\n\r\n.\r\rMAIL\r\n", "line_endings_invalid"),
        (b"A: b\r\n\r\nbo\0dy\r\n", "line_endings_invalid"),
        (b"A: b\r\n\r\n" + b"a" * 999 + b"\r\n", "line_too_long"),
        (b"A: " + b"b\r\n " * 50 + b"\r\n\r\n", "header_too_large"),
        (b"A: b\x01\r\n\r\n", "header_invalid"),
        (b"no colon\r\n\r\n", "header_invalid"),
        (b" b\r\n\r\n", "header_invalid"),
        (b"A: \xff\r\n\r\n", "header_invalid"),
    ],
)
def test_a_fault_has_the_code_that_smtp_gives(sent: bytes, code: str) -> None:
    """The doors agree."""
    with pytest.raises(Refused) as caught:
        octets.parse(sent, header_octets=100)

    assert code == caught.value.code
