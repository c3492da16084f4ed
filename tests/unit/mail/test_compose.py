"""mail.compose: what a client gave is what a reader sees, and nothing else can be slipped in."""

from __future__ import annotations

import datetime as dt
import email
import email.message
import email.policy
import email.utils
import re
import time
from dataclasses import replace
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.mail.address import Address
from gatewayd.mail.compose import Attachment, ComposeError, Fields, Mailbox, compose
from gatewayd.mail.header import check
from gatewayd.mail.message import RawMessage
from gatewayd.mail.structure import limits

AT = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
ID = "<0190@mx.example.com>"
ME = Address.parse("me@example.com")
BOB = Mailbox(Address.parse("bob@example.org"))
PLAIN = Fields(from_=ME, to=(BOB,), subject="Hello", text="Hello Bob.\n")
PNG = Attachment(filename="logo.png", content_type="image/png", content=b"\x89PNG\r\n\x00\n")
LINE_ENDS = "\r\n\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x7f\ud800"

_TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            ["\n", "\r\n", "\r", "From ", " \n", "\t", ".\n", "..", "=", "--", "\x0b\x1c\x85\u2028",
             "a" * 1500, "\u00e9", "\u65e5\u672c", "\U0001f600", "=?utf-8?q?a?="]
        ),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30),
    ),
    max_size=30,
).map("".join)  # fmt: skip
# The email package drops some spaces that are not ASCII, so these are left out of what it judges.
_LINES = st.text(
    st.just(" ") | st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), max_size=200
)


def _octets(message: RawMessage) -> bytes:
    assert isinstance(message.body, bytes)
    return message.header.octets + b"\r\n" + message.body


def _read(fields: Fields) -> EmailMessage:
    """Composed by us, checked as a submission is, and parsed by the email package."""
    message = compose(fields, ID, AT)
    octets = _octets(message)
    parsed = email.message_from_bytes(octets, policy=email.policy.default)

    assert isinstance(parsed, EmailMessage)
    assert isinstance(message.body, bytes)
    assert check(message.header.octets) is None
    assert limits(message.header, message.body) is None
    assert re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", octets) is None
    assert not any(part.defects for part in parsed.walk())
    return parsed


def _text(part: email.message.Message) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def _canonical(text: str) -> str:
    lines = re.sub("\r\n?", "\n", text)
    if lines and not lines.endswith("\n"):
        lines += "\n"
    return lines.replace("\n", "\r\n")


def _types(message: email.message.Message) -> list[str]:
    return [part.get_content_type() for part in message.walk()]


def test_plain_text_is_exactly_these_octets() -> None:
    """The order of fields is fixed, so that the same submission is the same message."""
    expected = (
        b"From: me@example.com\r\nTo: bob@example.org\r\nSubject: Hello\r\n"
        b"Date: Wed, 04 Mar 2026 05:06:07 +0000\r\nMessage-ID: <0190@mx.example.com>\r\n"
        b"MIME-Version: 1.0\r\nX-Run: 17\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n\r\nHello Bob.\r\n"
    )

    assert expected == _octets(compose(replace(PLAIN, headers=(("X-Run", "17"),)), ID, AT))


def test_same_arguments_give_the_same_octets() -> None:
    """Every try to deliver sends what was signed."""
    fields = replace(PLAIN, html="<p>x", attachments=(PNG,))

    assert compose(fields, ID, AT) == compose(fields, ID, AT)


@pytest.mark.parametrize(
    ("fields", "is_checked"),
    [
        (PLAIN, True),
        (replace(PLAIN, text=None, html="<p>x"), True),
        (replace(PLAIN, text=None), True),
        (replace(PLAIN, html="<p>x"), False),
        (replace(PLAIN, attachments=(PNG,)), False),
    ],
)
def test_only_a_body_without_parts_need_not_be_judged(fields: Fields, *, is_checked: bool) -> None:
    """How many parts there may be, and how deep, is for the operator to say."""
    assert compose(fields, ID, AT).is_checked == is_checked


@given(_TEXTS, st.none() | _TEXTS)
def test_bodies_go_through(text: str, html: str | None) -> None:
    """Text and HTML of any characters are read back, but for the kind of line ends."""
    message = _read(replace(PLAIN, text=text, html=html))
    bodies = [_text(part) for part in message.walk() if not part.is_multipart()]

    assert [_canonical(each) for each in (text, html) if each is not None] == bodies
    assert all(len(line) <= 78 for line in message.as_bytes().split(b"\n"))


@pytest.mark.slow
@settings(max_examples=40)
@given(_LINES, _LINES, _LINES)
def test_header_text_goes_through(subject: str, name: str, value: str) -> None:
    """Subject, display name and X- fields of any characters are read back as they were given."""
    fields = replace(PLAIN, subject=subject, display_name=name, headers=(("X-Any", value),))
    message = _read(fields)
    # Its newer parser puts a space between the encoded words of a long name; the older does not.
    older = email.message_from_bytes(_octets(compose(fields, ID, AT)))
    shown, address = email.utils.parseaddr(older["From"])

    assert str(message["Subject"] or "") == subject
    assert address == "me@example.com"
    assert str(make_header(decode_header(shown))) == name.strip(" ")
    assert value == message["X-Any"]


@pytest.mark.slow
@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=80))
def test_filename_goes_through(filename: str) -> None:
    """RFC 2231 where it must be, quotes where they do."""
    message = _read(replace(PLAIN, attachments=(replace(PNG, filename=filename),)))
    part = next(iter(message.iter_attachments()))

    assert filename.strip() == (part.get_filename() or "")  # the email package strips it


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_attachments_go_through(contents: list[bytes]) -> None:
    """No octet of a file changes."""
    files = tuple(replace(PNG, content=content) for content in contents)
    message = _read(replace(PLAIN, attachments=files))

    assert contents == [part.get_payload(decode=True) for part in message.iter_attachments()]


def test_parts_are_nested_as_readers_expect() -> None:
    """Files around alternatives around HTML with its images (RFC 2046 5.1.4, RFC 2387)."""
    image = replace(PNG, content_id="logo@example.com", disposition="inline")
    fields = replace(PLAIN, html='<img src="cid:logo@example.com">', attachments=(PNG, image))
    message = _read(fields)
    inline = next(part for part in message.walk() if part["Content-ID"])
    expected = [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html",
        "image/png", "image/png",
    ]  # fmt: skip

    assert expected == _types(message)
    assert inline["Content-ID"] == "<logo@example.com>"
    assert inline.get_content_disposition() == "inline"
    related = next(part for part in message.walk() if part.get_content_subtype() == "related")
    assert related.get_param("type") == "text/html"


@pytest.mark.parametrize(
    ("fields", "types"),
    [
        (PLAIN, ["text/plain"]),
        (replace(PLAIN, text=None, html="<p>x"), ["text/html"]),
        (replace(PLAIN, html="<p>x"), ["multipart/alternative", "text/plain", "text/html"]),
        (replace(PLAIN, text=None), ["text/plain"]),
        (replace(PLAIN, attachments=(PNG,)), ["multipart/mixed", "text/plain", "image/png"]),
        (
            replace(PLAIN, attachments=(replace(PNG, content_id="a@b"),)),
            ["multipart/mixed", "text/plain", "image/png"],
        ),
        (
            replace(PLAIN, text=None, html="<p>", attachments=(replace(PNG, content_id="a@b"),)),
            ["multipart/related", "text/html", "image/png"],
        ),
    ],
)
def test_structure_is_the_simplest_that_holds_it(fields: Fields, types: list[str]) -> None:
    """One row of the table each."""
    assert types == _types(_read(fields))


def test_recipients_are_listed_with_their_names() -> None:
    """Each in its form, folded; a name never reaches into the next address."""
    to = tuple(
        Mailbox(Address.parse(f"to{index}@example.org"), f'N\u00e4me "{index}", <x@y>')
        for index in range(100)
    )
    message = _read(replace(PLAIN, to=to, cc=(BOB,)))

    assert [str(each.address) for each in to] == [a.addr_spec for a in message["To"].addresses]
    assert [each.display_name for each in to] == [a.display_name for a in message["To"].addresses]
    assert str(message["Cc"]) == "bob@example.org"


def test_message_to_hidden_recipients_names_nobody() -> None:
    """Bcc is of the envelope only (RFC 5322 3.6.3)."""
    message = _read(replace(PLAIN, to=()))

    assert message["To"] is None
    assert message["Bcc"] is None


def test_domain_in_unicode_is_written_in_ascii() -> None:
    """So the message needs no SMTPUTF8; a local-part in Unicode does (RFC 6531)."""
    domain = Mailbox(Address.parse("x@b\u00fccher.example"), "B\u00fccher")
    local = Mailbox(Address.parse("j\u00fcrgen@b\u00fccher.example"))

    assert compose(replace(PLAIN, to=(domain,)), ID, AT).needs_smtputf8 is False
    assert "xn--bcher-kva.example" in str(_read(replace(PLAIN, to=(domain,)))["To"])
    assert compose(replace(PLAIN, to=(local,)), ID, AT).needs_smtputf8 is True


def test_empty_message_is_a_message() -> None:
    """No subject, no text, no recipient named."""
    message = _read(Fields(from_=ME))

    assert _text(message) == ""
    assert message["Subject"] is None


def test_references_are_folded_and_read_back() -> None:
    """A thread of fifty messages (RFC 5322 3.6.4)."""
    references = " ".join(f"<{index}.abcdef@mail.example.com>" for index in range(50))
    message = _read(replace(PLAIN, headers=(("references", references), ("In-Reply-To", "<a@b>"))))

    assert references == message["References"]
    assert message["In-Reply-To"] == "<a@b>"


@pytest.mark.parametrize(
    "content", [b"Subject: x\n\nhi", b"Subject: x\r\n\r\nhi\r\n", b"A: \xc3\xa9\n"]
)
def test_attached_message_is_not_encoded(content: bytes) -> None:
    """Only 7bit and 8bit are allowed for it (RFC 2046 5.2.1), and around it (RFC 2045 6.4)."""
    attached = Attachment(filename="a.eml", content_type="message/rfc822", content=content)
    message = _read(replace(PLAIN, attachments=(attached,)))
    part = next(iter(message.iter_attachments()))
    encoding = "7bit" if content.isascii() else "8bit"

    assert encoding == part["Content-Transfer-Encoding"]
    assert encoding == (message["Content-Transfer-Encoding"] or "7bit")
    assert part.get_content_type() == "message/rfc822"


def test_text_cannot_hold_the_boundary() -> None:
    """A client that saw one message cannot foresee the boundary of the next."""
    fields = replace(PLAIN, html="<p>x")
    boundary = email.message_from_bytes(_octets(compose(fields, ID, AT))).get_boundary()
    again = _read(replace(fields, text=f"--{boundary}--\n"))

    assert boundary != again.get_boundary()
    assert _text(next(iter(again.iter_parts()))) == f"--{boundary}--\r\n"


@pytest.mark.parametrize("character", LINE_ENDS)
@pytest.mark.parametrize(
    ("pointer", "fields"),
    [
        ("/subject", replace(PLAIN, subject="@")),
        ("/from", replace(PLAIN, display_name="@")),
        ("/to/1", replace(PLAIN, to=(BOB, Mailbox(ME, "@")))),
        ("/cc/0", replace(PLAIN, cc=(Mailbox(ME, "@"),))),
        ("/headers/X-A", replace(PLAIN, headers=(("X-A", "@"),))),
        ("/headers/References", replace(PLAIN, headers=(("References", "<a@b> @"),))),
        ("/attachments/1/filename", replace(PLAIN, attachments=(PNG, replace(PNG, filename="@")))),
        (
            "/attachments/0/content_type",
            replace(PLAIN, attachments=(replace(PNG, content_type="image/png@"),)),
        ),
        (
            "/attachments/0/content_id",
            replace(PLAIN, attachments=(replace(PNG, content_id="@"),)),
        ),
    ],
)
def test_no_field_can_begin_another_line(pointer: str, fields: Fields, character: str) -> None:
    """Every character that any reader takes for a line end is refused, by the field's name."""
    for text in (f"a{character}Bcc: x@example.org", f"\u00e9{character}", f"<a@b>{character} "):
        with pytest.raises(ComposeError) as caught:
            compose(_fill(fields, text), ID, AT)

        assert pointer == caught.value.pointer
        assert caught.value.detail.isprintable()


@pytest.mark.parametrize("character", ["\r", "\n", "\r\n", "\x00", "\x1f", "\x7f", "\x85"])
@pytest.mark.parametrize("name", ["from_", "to"])
def test_no_address_can_begin_another_line(name: str, character: str) -> None:
    """Not even one that nothing has parsed."""
    bad = Address(f"a{character}Bcc: x", "example.com")
    fields = replace(PLAIN, **{name: bad if name == "from_" else (Mailbox(bad),)})  # type: ignore[arg-type]  # by name

    with pytest.raises(ComposeError):
        compose(fields, ID, AT)


def _fill(fields: Fields, text: str) -> Fields:
    """The fields with the `@` that stands for a client's text replaced by it."""

    def fill(value: str | None) -> str | None:
        is_ours = value is not None and value.endswith("@")
        return value[:-1] + text if is_ours and value is not None else value

    return replace(
        fields,
        subject=fill(fields.subject),
        display_name=fill(fields.display_name),
        to=tuple(Mailbox(each.address, fill(each.display_name)) for each in fields.to),
        cc=tuple(Mailbox(each.address, fill(each.display_name)) for each in fields.cc),
        headers=tuple((name, fill(value) or "") for name, value in fields.headers),
        attachments=tuple(
            replace(
                each,
                filename=fill(each.filename),
                content_type=fill(each.content_type) or "",
                content_id=fill(each.content_id),
            )
            for each in fields.attachments
        ),
    )


@pytest.mark.parametrize(
    ("name", "pointer"),
    [
        ("Bcc", "/headers/Bcc"),
        ("From", "/headers/From"),
        ("Received", "/headers/Received"),
        ("Content-Type", "/headers/Content-Type"),
        ("DKIM-Signature", "/headers/DKIM-Signature"),
        ("X-Gatewayd-Track", "/headers/X-Gatewayd-Track"),
        ("x-GATEWAYD-x", "/headers/x-GATEWAYD-x"),
        ("X-", "/headers/X-"),
        ("X-A B", "/headers/X-A B"),
        ("X-A:", "/headers/X-A:"),
        ("X-A\r\nBcc", "/headers/X-A\r\nBcc"),
        ("X-\u00e9", "/headers/X-\u00e9"),
        ("X-" + "a" * 75, "/headers/X-" + "a" * 75),
        ("", "/headers/"),
        ("a/b~c", "/headers/a~1b~0c"),
    ],
)
def test_other_header_is_refused_with_what_is_allowed(name: str, pointer: str) -> None:
    """X-*, In-Reply-To and References, and none of ours (RFC 6901 for the pointer)."""
    with pytest.raises(ComposeError, match="In-Reply-To") as caught:
        compose(replace(PLAIN, headers=((name, "x"),)), ID, AT)

    assert pointer == caught.value.pointer


@pytest.mark.parametrize("value", ["", "a@b", "<>", "<a@b>,<c@d>", "<a b@c>", "<a@b> x", "<<a@b>>"])
def test_reference_that_is_no_message_id_is_refused(value: str) -> None:
    """These fields hold Message-IDs only (RFC 5322 3.6.4)."""
    with pytest.raises(ComposeError, match="Message-IDs"):
        compose(replace(PLAIN, headers=(("In-Reply-To", value),)), ID, AT)


def test_second_reference_is_refused() -> None:
    """At most one of each (RFC 5322 3.6)."""
    twice = (("References", "<a@b>"), ("REFERENCES", "<c@d>"))
    with pytest.raises(ComposeError) as caught:
        compose(replace(PLAIN, headers=twice), ID, AT)

    assert caught.value.pointer == "/headers/REFERENCES"


@pytest.mark.parametrize(
    "content_type",
    ["", "png", "image/", "/png", "image/png/x", "image/png;", "im age/png", "image/png; a",
     "image/png; a=b\r\nBcc: c", 'image/png; a="b', "multipart/mixed", "Multipart/Mixed; a=b",
     "message/partial", "message/external-body", "image/p\u00e9", "a/" + "b" * 65,
     "a/b" + "; c=d" * 60],
)  # fmt: skip
def test_bad_content_type_is_refused(content_type: str) -> None:
    """type/subtype of tokens (RFC 2045 5.1); what has parts of its own may not be encoded."""
    with pytest.raises(ComposeError) as caught:
        compose(replace(PLAIN, attachments=(replace(PNG, content_type=content_type),)), ID, AT)

    assert caught.value.pointer == "/attachments/0/content_type"


@pytest.mark.parametrize("content_type", ["text/csv; charset=utf-8", 'TEXT/x-a.b+c;a="b ;c" ; d=e'])
def test_content_type_may_have_parameters(content_type: str) -> None:
    """A charset or a calendar's method has to go with it."""
    fields = replace(PLAIN, attachments=(replace(PNG, content_type=content_type),))
    message = email.message_from_bytes(_octets(compose(fields, ID, AT)))
    kinds = [part["Content-Type"] for part in message.walk()]

    assert content_type in kinds


@pytest.mark.parametrize("content", [b"A: b\x00", b"A: b\rC: d\r\n", b"A: b\r\nC\n", b"a" * 999])
def test_attached_message_with_unfit_lines_is_refused(content: bytes) -> None:
    """It may not be encoded, so it must be fit to be sent as it is (RFC 5321 4.5.3.1.6)."""
    attached = Attachment(filename=None, content_type="message/rfc822", content=content)
    with pytest.raises(ComposeError) as caught:
        compose(replace(PLAIN, attachments=(attached,)), ID, AT)

    assert caught.value.pointer == "/attachments/0/content"


@pytest.mark.parametrize(
    ("pointer", "fields"),
    [
        ("/text", replace(PLAIN, text="\ud800")),
        ("/html", replace(PLAIN, html="\udfff")),
        (
            "/attachments/0/filename",
            replace(PLAIN, attachments=(replace(PNG, filename="a" * 256),)),
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(pointer: str, fields: Fields) -> None:
    """Half of a surrogate pair, a name that no file system takes."""
    with pytest.raises(ComposeError) as caught:
        compose(fields, ID, AT)

    assert pointer == caught.value.pointer


def test_disposition_is_one_of_two_words() -> None:
    """A door that forgot to look cannot let a line break in."""
    odd = replace(PNG, disposition="inline\r\nBcc: x")  # type: ignore[arg-type]  # the point
    with pytest.raises(ComposeError) as caught:
        compose(replace(PLAIN, attachments=(odd,)), ID, AT)

    assert caught.value.pointer == "/attachments/0/disposition"


@pytest.mark.parametrize("message_id", ["", "a@b", "<a@b>\r\nBcc: c", "<a b>"])
def test_bad_message_id_is_a_fault_of_ours(message_id: str) -> None:
    """It comes from intake, never from a client."""
    with pytest.raises(ValueError, match="Message-ID"):
        compose(PLAIN, message_id, AT)


@pytest.mark.slow
def test_composing_3_kb_takes_less_than_half_a_millisecond() -> None:
    """About 0.05 ms on the machine it was written on; the aim is 0.2 ms."""
    fields = replace(
        PLAIN, text="Hello Bob, and so on and on.\n" * 50, html="<p>Gr\u00fc\u00dfe und so.\n" * 80
    )
    times: list[float] = []
    for _ in range(200):
        start = time.process_time()
        compose(fields, ID, AT)
        times.append(time.process_time() - start)

    assert min(times) < 0.0005
