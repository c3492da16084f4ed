"""delivery.smtp.commands: an envelope as command lines."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from gatewayd.delivery.smtp.capabilities import Capabilities
from gatewayd.delivery.smtp.commands import mail, needs_smtputf8, rcpt
from gatewayd.mail.address import NULL, ForwardPath, ReversePath
from gatewayd.mail.envelope import BodyType, Envelope, Notify, Recipient, Ret

ALL = Capabilities(pipelining=True, has_size=True, eight_bit_mime=True, smtputf8=True, dsn=True)
NONE = Capabilities()


@dataclass
class Content:
    """A message of which only this matters."""

    size_octets: int = 100
    has_8bit: bool = False
    needs_smtputf8: bool = False

    async def blocks(self) -> AsyncGenerator[bytes]:
        yield b""


def envelope(reverse: str = "ann@x.test", forward: str = "bob@y.test", **more: object) -> Envelope:
    """One recipient."""
    paths = ReversePath.parse(reverse), (Recipient(ForwardPath.parse(forward)),)
    return Envelope(*paths, **more)  # type: ignore[arg-type]  # a test knows its fields


def test_null_reverse_path_is_empty_brackets() -> None:
    """Reports are sent from nobody (RFC 5321 4.5.5)."""
    assert mail(Envelope(NULL, ()), Content(), NONE) == b"MAIL FROM:<>\r\n"


def test_seven_bit_content_needs_no_body() -> None:
    """BODY=7BIT is what no BODY means (RFC 6152 2)."""
    assert mail(envelope(), Content(), ALL) == b"MAIL FROM:<ann@x.test> SIZE=100\r\n"


@pytest.mark.parametrize(
    ("told", "has_8bit"), [(BodyType.EIGHT_BIT, False), (BodyType.SEVEN_BIT, True)]
)
def test_eight_bit_is_declared(told: BodyType, *, has_8bit: bool) -> None:
    """By the submitter's word or by what is there."""
    line = mail(envelope(body=told), Content(has_8bit=has_8bit), ALL)

    assert b" BODY=8BITMIME" in line


@pytest.mark.parametrize(
    ("given", "content", "expected"),
    [
        (envelope(), Content(), False),
        (envelope("ann@bücher.test", "bob@bücher.test"), Content(), False),
        (envelope("ännä@x.test"), Content(), True),
        (envelope(forward="bøb@y.test"), Content(), True),
        (envelope(), Content(needs_smtputf8=True), True),
    ],
)
def test_smtputf8_is_needed_for_more_than_a_domain(
    given: Envelope, content: Content, *, expected: bool
) -> None:
    """A domain has A-labels; a local-part and a header have nothing (RFC 6531 3.2)."""
    assert needs_smtputf8(given, content) is expected
    assert (b" SMTPUTF8" in mail(given, content, ALL)) is expected


def test_dsn_parameters_go_to_those_who_offer_dsn() -> None:
    """And to nobody else (RFC 3461 4)."""
    given = envelope(envid="QQ3", ret=Ret.FULL)
    recipient = Recipient(
        ForwardPath.parse("bob@y.test"), frozenset({Notify.NEVER}), "rfc822;bob@y.test"
    )

    assert mail(given, Content(), ALL).endswith(b" RET=FULL ENVID=QQ3\r\n")
    assert mail(given, Content(), NONE) == b"MAIL FROM:<ann@x.test>\r\n"
    assert rcpt(recipient, ALL) == (
        b"RCPT TO:<bob@y.test> NOTIFY=NEVER ORCPT=rfc822;bob@y.test\r\n"
    )
    assert rcpt(recipient, NONE) == b"RCPT TO:<bob@y.test>\r\n"


def test_original_recipient_in_utf8_needs_smtputf8() -> None:
    """RFC 6533 3: utf-8-addr-unitext is for SMTPUTF8 sessions."""
    recipient = Recipient(ForwardPath.parse("bob@y.test"), orcpt="utf-8;bøb@y.test")
    without = Capabilities(dsn=True)

    assert rcpt(recipient, without) == b"RCPT TO:<bob@y.test>\r\n"
    assert rcpt(recipient, ALL).endswith(" ORCPT=utf-8;bøb@y.test\r\n".encode())


def test_control_character_is_a_fault_of_ours() -> None:
    """No path leads here; if one did, no second command may go out."""
    given = envelope(envid="x\r\nRCPT TO:<evil@x.test>")

    with pytest.raises(AssertionError):
        mail(given, Content(), ALL)
