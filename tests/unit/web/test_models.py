"""web.api.models and web.validation: each mistake, its pointer, its code, and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gatewayd.errors import Refused
from gatewayd.mail.address import Address
from gatewayd.mail.mailbox_list import Mailbox
from gatewayd.web import validation
from gatewayd.web.api.models import SendMessage

FIELDS = "to, cc, bcc, subject, text, html, headers, attachments, tags, metadata, track"
FILE = {"filename": "a.txt", "content": "YQ==", "content_type": "text/plain"}


def refusal(document: Any) -> Refused:  # noqa: ANN401 - whatever a client may send
    """What the client of this document is told."""
    with pytest.raises(ValidationError) as caught:
        SendMessage.model_validate(document)
    return validation.from_pydantic(caught.value, document, SendMessage)


def message(**changes: object) -> dict[str, object]:
    """A good message, changed."""
    return {"to": ["ann@example.com"], "text": "Hello"} | changes


@pytest.mark.parametrize(
    ("value", "mailbox"),
    [
        ("ann@example.com", Mailbox(Address("ann", "example.com"))),
        ("Ann <ann@Example.COM>", Mailbox(Address("ann", "example.com"), "Ann")),
        (
            '"Example, Ann" <ann@example.com>',
            Mailbox(Address("ann", "example.com"), "Example, Ann"),
        ),
        ({"address": "ann@example.com"}, Mailbox(Address("ann", "example.com"))),
        (
            {"address": "ann@example.com", "name": 'A "B" <c@d.example>'},
            Mailbox(Address("ann", "example.com"), 'A "B" <c@d.example>'),
        ),
        ('"a<b"@example.com', Mailbox(Address('"a<b"', "example.com"))),
        ("Änne <änne@bücher.example>", Mailbox(Address("änne", "bücher.example"), "Änne")),
    ],
)
def test_an_address_is_written_in_any_of_three_ways(value: object, mailbox: Mailbox) -> None:
    """Alone, with a name before it, or as an object; alone or in a list."""
    alone = SendMessage.model_validate(message(to=value))
    listed = SendMessage.model_validate(message(to=[value]))

    assert (mailbox,) == alone.mailboxes("to") == listed.mailboxes("to")


@pytest.mark.parametrize(
    ("document", "pointer", "code"),
    [
        (message(to="ann"), "/to", "recipient_invalid"),
        (message(to=["ann@example.com", "ann"]), "/to/1", "recipient_invalid"),
        (message(to='"a\r\nBcc: x" <ann@example.com>'), "/to", "recipient_invalid"),
        (message(to=["x"] * 9_999, cc=["x"] * 2), "/to", "too_many_recipients"),
        (message(cc=["a@b.example, c@d.example"]), "/cc/0", "recipient_invalid"),
        (message(cc=["A <a@b.example>, C <c@d.example>"]), "/cc/0", "recipient_invalid"),
        (message(bcc=[{"address": "a"}]), "/bcc/0/address", "recipient_invalid"),
        (message(to=["a@b.example\r\nRCPT TO:<c@d.example>"]), "/to/0", "recipient_invalid"),
        (message(to=["A\r\nBcc: c@d.example <a@b.example>"]), "/to/0", "recipient_invalid"),
        (
            message(to=[{"address": "a@b.example", "name": "A\r\nBcc: c@d.example"}]),
            "/to/0/name",
            "header_invalid",
        ),
        ({"text": "x"}, "/to", "recipient_missing"),
        (message(to=[]), "/to", "recipient_missing"),
        (message(subject="a\r\nBcc: b@c.example"), "/subject", "header_invalid"),
        (message(subject="a\x1cb"), "/subject", "header_invalid"),
        (message(subject="a\u2028b"), "/subject", "header_invalid"),
        (message(headers={"X-A": "a\0"}), "/headers/X-A", "header_invalid"),
        (message(headers={"References": "ä"}), "/headers", "header_invalid"),
    ],
)
def test_a_single_fault_has_the_code_of_every_door(
    document: object, pointer: str, code: str
) -> None:
    """What SMTP calls so is called so here."""
    refused = refusal(document)

    assert code == refused.code
    assert [(pointer, code)] == [(each.pointer, each.code.word) for each in refused.faults]


@pytest.mark.parametrize(
    ("document", "pointer", "detail"),
    [
        (message(template="a"), "/template", f"unknown field; allowed here: {FIELDS}"),
        (message(send_at="2026"), "/send_at", f"unknown field; allowed here: {FIELDS}"),
        (message(**{"from": "a@b.example"}), "/from", f"unknown field; allowed here: {FIELDS}"),
        (message(**{"a/b~c": 1}), "/a~1b~0c", f"unknown field; allowed here: {FIELDS}"),
        ([], "", "must be an object"),
        (None, "", "must be an object"),
        (message(text=None), "/text", "text or html is required"),
        (message(text=1), "/text", "must be a string"),
        (message(html="a\0"), "/html", "may not hold NUL"),
        (message(to=1), "/to", "must be a string"),
        (message(to=[{"adress": "a@b.example", "address": "a@b.example"}]), "/to/0/adress", None),
        (message(to=[{}]), "/to/0/address", "this field is required"),
        (message(headers=[]), "/headers", "must be an object"),
        (message(headers={"From": "a@b.example"}), "/headers/From", None),
        (message(headers={"X-Gatewayd-Track": "off"}), "/headers/X-Gatewayd-Track", None),
        (message(headers={"X-A:": "a"}), "/headers/X-A:", None),
        (message(headers={"X-A": "1", "x-a": "2"}), "/headers", None),
        (message(headers={"X-A": 1}), "/headers/X-A", "must be a string"),
        (message(tags=["a"] * 21), "/tags", "may have at most 20 entries"),
        (message(tags=["a" * 65]), "/tags/0", "may have at most 64 characters"),
        (message(tags=[""]), "/tags/0", "must have at least 1 characters"),
        (message(metadata={str(n): "" for n in range(51)}), "/metadata", None),
        (message(metadata={"a": "b" * 1025}), "/metadata/a", "may have at most 1024 characters"),
        (message(metadata={"a": {}}), "/metadata/a", "must be a string"),
        (message(metadata={"a" * 65: ""}), "/metadata/" + "a" * 65, None),
        (message(attachments=[FILE | {"content": "Y"}]), "/attachments/0/content", None),
        (message(attachments=[FILE | {"content": "YQ=\n="}]), "/attachments/0/content", None),
        (message(attachments=[FILE | {"content": 1}]), "/attachments/0/content", None),
        (message(attachments=[FILE | {"content_type": "x"}]), "/attachments/0/content_type", None),
        (
            message(attachments=[FILE | {"content_type": "Multipart/mixed"}]),
            "/attachments/0/content_type",
            None,
        ),
        (
            message(attachments=[FILE | {"content_type": "text/plain\r\nX: y"}]),
            "/attachments/0/content_type",
            None,
        ),
        (message(attachments=[FILE | {"disposition": "x"}]), "/attachments/0/disposition", None),
        (message(attachments=[FILE | {"content_id": "<a>"}]), "/attachments/0/content_id", None),
        (message(attachments=["x"]), "/attachments/0", "must be an object"),
    ],
)
def test_another_mistake_is_validation_failed(
    document: object, pointer: str, detail: str | None
) -> None:
    """The pointer names the field, the detail what is allowed (RFC 6901)."""
    refused = refusal(document)

    assert refused.code == "validation_failed"
    assert [pointer] == [each.pointer for each in refused.faults]
    if detail is not None:
        assert detail == refused.faults[0].detail


@pytest.mark.parametrize(
    ("track", "pointer", "detail"),
    [
        (True, "/track", 'must be "off" or an array of "opens", "clicks" or both'),
        ("opens", "/track", 'must be "off" or an array of "opens", "clicks" or both'),
        ({"opens": True}, "/track", 'must be "off" or an array of "opens", "clicks" or both'),
        ([], "/track", "must have at least 1 entries"),
        (["opens", "clicks", "opens"], "/track", "may have at most 2 entries"),
        (["off"], "/track/0", "input should be 'opens' or 'clicks'"),
        (["opens", 1], "/track/1", "input should be 'opens' or 'clicks'"),
    ],
)
def test_what_to_track_is_a_list_or_off(track: object, pointer: str, detail: str) -> None:
    """Nothing else is taken for one of them; each mistake is told once, where it is."""
    refused = refusal(message(track=track))

    assert refused.code == "validation_failed"
    assert [(pointer, detail)] == [(each.pointer, each.detail) for each in refused.faults]


def test_every_mistake_is_named_at_once() -> None:
    """A client mends all of them in one go; mixed codes are validation_failed."""
    refused = refusal(message(to=["a"], subject=1, track=["opens", 1]))

    assert refused.code == "validation_failed"
    assert {"/to/0", "/subject", "/track/1"} == {each.pointer for each in refused.faults}


def test_faults_are_bounded() -> None:
    """A MiB of mistakes does not become many MiB of problem."""
    refused = refusal(message(to=["a"] * 5000))

    assert len(refused.faults) == validation.MAX_FAULTS


def test_null_is_as_good_as_absent() -> None:
    """Clients send null for what they do not have."""
    absent = dict.fromkeys(
        ("cc", "bcc", "subject", "html", "headers", "attachments", "tags", "metadata")
    )

    assert SendMessage.model_validate(message()) == SendMessage.model_validate(message(**absent))


def test_an_attachment_is_decoded_once() -> None:
    """The model holds octets, not base64."""
    sent = SendMessage.model_validate(message(attachments=[FILE]))

    assert sent.attachments is not None
    assert sent.attachments[0].content == b"a"
