"""web.api.submissions: fields and octets to a Submission, and faults back to the request."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.errors import Code, Fault, Refused
from gatewayd.mail.compose import Fields
from gatewayd.mail.envelope import BodyType
from gatewayd.mail.message import RawMessage
from gatewayd.policy.submission import Door, Options, Trace
from gatewayd.web.api import submissions
from gatewayd.web.api.models import SendMessage
from gatewayd.web.api.submissions import Draft
from tests.fakes.http_api import FakeIntake, principal

TRACE = Trace(door=Door.HTTP, peer="", helo="", protocol="HTTP", tls="", request_id="r-1")


def from_fields(prefix: str = "", **fields: Any) -> Draft:  # noqa: ANN401 - JSON
    """The draft for a JSON message."""
    document = {"text": "Hello"} | fields
    return submissions.from_fields(
        SendMessage.model_validate(document),
        document,
        principal(),
        options=Options(),
        trace=TRACE,
        prefix=prefix,
    )


def from_octets(octets: bytes, *forward_paths: str) -> Draft:
    """The draft for octets."""
    return submissions.from_octets(
        RawMessage.parse(octets), forward_paths, principal(), options=Options(), trace=TRACE
    )


def recipients(draft: Draft) -> list[str]:
    """The forward-paths of a draft."""
    return [str(each.forward_path) for each in draft.submission.envelope.recipients]


def test_to_cc_and_bcc_are_one_envelope_without_repetition() -> None:
    """Domains are one without case, local-parts are not (RFC 5321 2.4)."""
    draft = from_fields(
        to=["a@x.example", "b@x.example"],
        cc=["a@X.EXAMPLE", "A@x.example"],
        bcc="c@x.example",
    )

    assert recipients(draft) == ["a@x.example", "b@x.example", "A@x.example", "c@x.example"]
    assert draft.pointers == ("/to/0", "/to/1", "/cc/1", "/bcc")


def test_the_sender_is_the_mailbox_of_the_token() -> None:
    """Nobody else can be named."""
    submission = from_fields(to="a@x.example").submission

    assert isinstance(submission.content, Fields)
    assert str(submission.content.from_) == "agent@example.com"
    assert str(submission.envelope.reverse_path) == "agent@example.com"


def test_bcc_is_in_the_envelope_only() -> None:
    """Nobody else learns of them."""
    content = from_fields(to="a@x.example", bcc=["b@x.example"]).submission.content

    assert isinstance(content, Fields)
    assert [str(each.address) for each in (*content.to, *content.cc)] == ["a@x.example"]


@pytest.mark.parametrize(
    ("given", "track"),
    [
        ({}, None),
        ({"track": None}, None),
        ({"track": "off"}, frozenset()),
        ({"track": ["opens"]}, frozenset({"opens"})),
        ({"track": ["clicks", "opens"]}, frozenset({"opens", "clicks"})),
    ],
)
def test_what_to_track_is_the_messages_wish(
    given: dict[str, Any], track: frozenset[str] | None
) -> None:
    """Without one it is left to the mailbox; `off` is a wish, too."""
    assert from_fields(to="a@x.example", **given).submission.options.track == track


def test_a_domain_of_other_letters_goes_as_a_labels() -> None:
    """So the next hop needs no SMTPUTF8 for it (RFC 5891 4.4)."""
    envelope = from_fields(to="a@bücher.example").submission.envelope

    assert str(envelope.recipients[0].forward_path) == "a@xn--bcher-kva.example"
    assert not envelope.smtputf8


def test_a_local_part_of_other_letters_needs_smtputf8() -> None:
    """(RFC 6531 3.2)."""
    assert from_fields(to="änne@x.example").submission.envelope.smtputf8


@pytest.mark.parametrize(
    ("octets", "body", "smtputf8"),
    [
        (b"To: a@b.example\r\n\r\nx\r\n", BodyType.SEVEN_BIT, False),
        (b"To: a@b.example\r\n\r\n\xc3\xa4\r\n", BodyType.EIGHT_BIT, False),
        ("To: a@b.example\r\nSubject: ä\r\n\r\n".encode(), BodyType.EIGHT_BIT, True),
    ],
)
def test_the_envelope_of_octets_says_what_they_need(
    octets: bytes, body: BodyType, smtputf8: bool
) -> None:
    """(RFC 6152, RFC 6531)."""
    envelope = from_octets(octets).submission.envelope

    assert (body, smtputf8) == (envelope.body, envelope.smtputf8)


def test_rcpt_parameters_come_before_the_header() -> None:
    """Who names recipients wants no others."""
    octets = b"To: a@b.example\r\n\r\n"

    assert recipients(from_octets(octets, "c@d.example")) == ["c@d.example"]


def test_without_parameters_the_header_names_the_recipients() -> None:
    """Groups are opened, an empty Bcc is nobody (RFC 5322 3.4, 3.6.3)."""
    octets = (
        b"To: A <a@b.example>, T: c@d.example, e@f.example;\r\n"
        b"Cc: a@B.example\r\nBcc: g@h.example\r\nBcc: \r\n\r\n"
    )

    draft = from_octets(octets)

    assert recipients(draft) == ["a@b.example", "c@d.example", "e@f.example", "g@h.example"]
    assert draft.pointers == ("/to", "/to", "/to", "/bcc")


@pytest.mark.parametrize(
    ("octets", "forward_paths", "code", "pointers"),
    [
        (b"From: a@b.example\r\n\r\n", (), "recipient_missing", ["/query/rcpt"]),
        (b"To: a@b\x80.example\r\n\r\n", (), "recipient_invalid", ["/to"]),
        (b"Cc: a@b.example c@d.example\r\n\r\n", (), "recipient_invalid", ["/cc"]),
        (
            b"",
            ("x", "a@b.example", "<c@d.example>"),
            "recipient_invalid",
            ["/query/rcpt/0", "/query/rcpt/2"],
        ),
    ],
)
def test_recipients_that_cannot_be_read_are_named(
    octets: bytes, forward_paths: tuple[str, ...], code: str, pointers: list[str]
) -> None:
    """All bad parameters at once."""
    with pytest.raises(Refused) as caught:
        from_octets(octets, *forward_paths)

    assert code == caught.value.code
    assert pointers == [each.pointer for each in caught.value.faults]


async def test_faults_of_the_envelope_point_into_the_request() -> None:
    """Intake sees recipients by number; a client sees its own fields."""
    draft = from_fields(
        prefix="/messages/3",
        to=["a@b.example", "a@suppressed.example"],
        bcc="b@suppressed.example",
    )

    with pytest.raises(Refused) as caught:
        await draft.hand_to(FakeIntake())

    pointers = [each.pointer for each in caught.value.faults]
    assert pointers == ["/messages/3/to/1", "/messages/3/bcc"]


async def test_other_faults_stay_where_they_are() -> None:
    """Composing points at fields already."""
    fault = Fault(pointer="/subject", detail="too long", code=Code.SUBJECT_TOO_LONG)
    refused = Refused(Code.SUBJECT_TOO_LONG, "Too long.", faults=[fault], retry_after_s=7)
    draft = from_fields(to="a@b.example")

    with pytest.raises(Refused) as caught:
        await draft.hand_to(FakeIntake(fails_with=lambda _: refused))

    assert (refused.faults, refused.public, 7) == (
        caught.value.faults,
        caught.value.public,
        caught.value.retry_after_s,
    )


@pytest.mark.parametrize(
    ("client", "peer"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8::1", 1), "2001:db8::1"),
        (("unknown\r\nX: y", 0), ""),
        (None, ""),
    ],
)
def test_the_peer_is_an_address_or_nothing(client: object, peer: str) -> None:
    """A proxy may write anything into X-Forwarded-For, and Received shows the peer."""
    assert peer == submissions.trace({"client": client, "state": {"request_id": "r-1"}}).peer
