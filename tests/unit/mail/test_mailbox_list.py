"""mail.mailbox_list: who a message says it is from, with no way to say two things at once."""

from __future__ import annotations

import contextlib
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail.address import Address
from gatewayd.mail.mailbox_list import (
    HeaderSyntaxError,
    Mailbox,
    addresses,
    format_originator,
    mailboxes,
)
from tests.unit.mail.stopwatch import assert_linear

ME = Address.parse("me@example.com")
BOB = Address.parse("bob@example.org")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"me@example.com", Mailbox(ME)),
        (b" me@example.com\t", Mailbox(ME)),
        (b"<me@example.com>", Mailbox(ME)),
        (b"Me Too <me@example.com>", Mailbox(ME, "Me Too")),
        (b"Me<me@example.com>", Mailbox(ME, "Me")),
        (b'"Too, Me" <me@example.com>', Mailbox(ME, "Too, Me")),
        (b'"a \\"b\\" \\\\" <me@example.com>', Mailbox(ME, 'a "b" \\')),
        (b"John Q. Public <me@example.com>", Mailbox(ME, "John Q. Public")),
        (b'"<evil@example.net>" <me@example.com>', Mailbox(ME, "<evil@example.net>")),
        (b'"evil@example.net, x" <me@example.com>', Mailbox(ME, "evil@example.net, x")),
        (b'"\\" <evil@example.net>" <me@example.com>', Mailbox(ME, '" <evil@example.net>')),
        (b"=?utf-8?q?=3Cevil=40example=2Enet=3E?= <me@example.com>",
         Mailbox(ME, "<evil@example.net>")),
        ("J\u00fcrgen <me@example.com>".encode(), Mailbox(ME, "J\u00fcrgen")),
        (b"=?utf-8?b?SsO8cmdlbg==?= <me@example.com>", Mailbox(ME, "J\u00fcrgen")),
        (b"me@example.com (Cron Daemon)", Mailbox(ME)),
        (b"Me (at work) <me@example.com>", Mailbox(ME, "Me")),
        (b"<me@example.com> (Me)", Mailbox(ME)),
        (b"(Me) me@example.com", Mailbox(ME)),
        (b"Me\r\n <me@example.com>", Mailbox(ME, "Me")),
    ],
)  # fmt: skip
def test_one_mailbox_is_read(value: bytes, expected: Mailbox) -> None:
    """Names in every usual form are told apart from the address (RFC 5322 3.4)."""
    assert [expected] == mailboxes(value)
    assert [expected.address] == addresses(value)


def test_several_are_read_in_order() -> None:
    """A second address is never overlooked, so the binding sees it."""
    expected = [ME, BOB]

    assert expected == addresses(b'me@example.com,"x, y" <bob@example.org>')


def test_quoted_local_part_may_hold_what_looks_like_more() -> None:
    """A comma or an @ inside quotes is part of one address (RFC 5321 4.1.2)."""
    assert [Address('"a,b@c"', "example.com")] == addresses(b'"a,b@c"@example.com')


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"   ",
        b"me",
        b"<>",
        b"Me <>",
        b"Me",
        b"me@example.com,",
        b",me@example.com",
        b"me@example.com,,bob@example.org",
        b"me@example.com bob@example.org",
        b"me@example.com <bob@example.org>",
        b"<me@example.com> <bob@example.org>",
        b"<me@example.com>bob@example.org",
        b"<me@example.com",
        b"me@example.com>",
        b"<<me@example.com>>",
        b"<me@example.com,bob@example.org>",
        b"<@relay.example:me@example.com>",
        b"@relay.example:me@example.com",
        b"me@example.com@example.org",
        b"me @example.com",
        b"me@ example.com",
        b"< me@example.com>",
        b"<me@exam\r\n ple.com>",
        b"me(x)@example.com",
        b"<me(x)@example.com>",
        b"<me@example.com(x)>",
        b"(<evil@example.net>) me@example.com",
        b"me@example.com (bob@example.org)",
        b"me@example.com (a (b))",
        b"me@example.com (a \\) b)",
        b"me@example.com (a",
        b"me@example.com a)",
        b'"Me <me@example.com>',
        b'Me" <me@example.com>',
        b"a, b <me@example.com>",
        b". <me@example.com>",
        b"Team: me@example.com;",
        b"Team:;",
        b"me@example.com;",
        b"a:b@example.com",
        b"=?utf-8?q?me?=@example.com",
        b"=?utf-8?q?me=40example=2Ecom?=",
        b"<=?utf-8?q?me=40example=2Ecom?=>",
        b'"=?utf-8?q?x?="@example.com',
        b"=?utf-8?q?a@b?= <me@example.com>",
        b"me@=?utf-8?q?example?=",
        b"me@example.com\x00",
        b"me@example.com\x1c",
        b"me@example.com\r\nBcc: bob@example.org",
        b"me@example.com\nbob@example.org",
        b"me@example.com\rbob@example.org",
        b'"a\x00b" <me@example.com>',
        b"\xff <me@example.com>",
        "me@example.com\u2028".encode(),
        "Me\x85 <me@example.com>".encode(),
        b"me@[300.1.1.1]",
        b"me\\@x@example.com",
    ],
)
def test_doubtful_value_is_refused(value: bytes) -> None:
    """What two readers could read in two ways decides nothing (RFC 5322 4.4, RFC 2047 5)."""
    with pytest.raises(HeaderSyntaxError):
        addresses(value)


def test_groups_are_opened_only_when_asked() -> None:
    """To may hold groups (RFC 5322 3.4); an originator may not (RFC 5322 3.6.2)."""
    value = b'"The team": me@example.com, Bob <bob@example.org>; , me@example.com, none:;'

    expected = [ME, BOB, ME]

    assert expected == addresses(value, allow_groups=True)
    assert not addresses(b"undisclosed-recipients:;", allow_groups=True)


@pytest.mark.parametrize(
    "value",
    [
        b"Team: me@example.com",
        b": me@example.com;",
        b"a: b: me@example.com;;",
        b"Team: me@example.com; bob@example.org",
        b"Team: me@example.com,;",
        b"<a>: me@example.com;",
        b"Team:; me: you@example.org;",
        b"me@example.com;",
    ],
)
def test_malformed_group_is_refused(value: bytes) -> None:
    """Groups do not nest, and end before anything else comes (RFC 5322 3.4)."""
    with pytest.raises(HeaderSyntaxError):
        addresses(value, allow_groups=True)


_NAMES = st.text(
    st.one_of(
        st.sampled_from('"\\<>@,;:().=? '),
        st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Cf")),
    ),
    max_size=80,
)


@given(_NAMES, st.booleans())
def test_name_comes_back_as_it_was_given(name: str, smtputf8: bool) -> None:
    """A display name of any characters cannot reach the address, and reads back the same."""
    value = format_originator(name, ME, smtputf8=smtputf8).encode()

    assert [Mailbox(ME, name.strip(" ") or None)] == mailboxes(value)
    if not smtputf8:
        assert value.isascii()


@given(_NAMES)
def test_email_package_reads_the_same_address(name: str) -> None:
    """The oracle sees one mailbox, ours, with the same name."""
    value = format_originator(name, ME)

    assert [ME.local_part + "@" + ME.domain] == [
        each for _, each in email.utils.getaddresses([value])
    ]


@given(st.text(st.sampled_from('a@x.,<>"\\() :;=?\t\u00e9'), max_size=40))
def test_one_address_for_us_is_one_for_the_email_package(text: str) -> None:
    """Whatever we read as one address, the oracle does not read as another."""
    try:
        ours = addresses(text.encode())
    except HeaderSyntaxError:
        return
    theirs = [address for _, address in email.utils.getaddresses([text])]

    # The oracle drops needless backslashes inside quotes; the mailbox is the same.
    assert [str(each).replace("\\", "") for each in ours] == [
        each.replace("\\", "") for each in theirs
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "me@example.com"),
        ("Me Too", "Me Too <me@example.com>"),
        ("Too, Me", '"Too, Me" <me@example.com>'),
        ("J\u00fcrgen", "=?utf-8?q?J=C3=BCrgen?= <me@example.com>"),
        ("=?x?=", "=?utf-8?b?PT94Pz0=?= <me@example.com>"),
    ],
)
def test_name_is_written_in_the_simplest_form(name: str, value: str) -> None:
    """Plain, then quoted, then encoded (RFC 5322 3.4, RFC 2047 5)."""
    assert value == format_originator(name, ME)


@pytest.mark.parametrize("character", "\r\n\x00\t\x0b\x0c\x1c\x1d\x1e\x7f\x85\u2028\u2029\ud800")
def test_control_character_in_a_name_is_refused(character: str) -> None:
    """A name cannot begin a new line or field."""
    with pytest.raises(HeaderSyntaxError):
        format_originator(f"a{character}b", ME)


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [b"a@x.org,", b'"', b"(", b"[", b"<", b"a ", b'"a\\', b"(a) ", b"a:;,", b'"a" ']
)
def test_time_is_linear(unit: bytes) -> None:
    """Twice the octets take twice the time, not four times."""

    def read(count: int) -> None:
        with contextlib.suppress(HeaderSyntaxError):
            addresses(unit * count + b"me@example.com", allow_groups=True)

    assert_linear(read, 20_000)
