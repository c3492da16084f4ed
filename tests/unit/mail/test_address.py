"""mail.address: what is an address, what is not, and when two are the same mailbox."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail.address import (
    NULL,
    Address,
    AddressSyntaxError,
    ForwardPath,
    ReversePath,
    split_path,
)

_atext = "abcXYZ019!#$%&'*+/=?^_`{|}~-"
_word = st.text(_atext, min_size=1, max_size=10)
_dot_string = st.lists(_word, min_size=1, max_size=4).map(".".join)
_qtext = st.one_of(st.sampled_from([" ", "@", "<", ">", ".", "ü", "\\\\", '\\"']), _word)
_quoted = st.lists(_qtext, max_size=5).map(lambda parts: '"' + "".join(parts) + '"')
_label = st.text("abcxyz0189", min_size=1, max_size=8).map("x".__add__)
_label = st.lists(_label, min_size=1, max_size=3).map("-".join)
_domain = st.lists(_label, min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("text", "local_part", "domain"),
    [
        ("ann@example.com", "ann", "example.com"),
        ("Ann.Lee+tag@Mail.Example.COM", "Ann.Lee+tag", "mail.example.com"),
        ("a@b", "a", "b"),
        ("-@x", "-", "x"),
        ("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x"),
        # No relay meaning in % and !: they are characters of a local-part.
        ("user%other.example@example.com", "user%other.example", "example.com"),
        ("host!user@example.com", "host!user", "example.com"),
        ('"Joe Blow"@example.com', '"Joe Blow"', "example.com"),
        ('"a@b"@example.com', '"a@b"', "example.com"),
        ('"Fred\\"@"@example.com', '"Fred\\"@"', "example.com"),
        ('""@example.com', '""', "example.com"),
        ("ann@[192.0.2.1]", "ann", "[192.0.2.1]"),
        ("ann@[IPv6:2001:db8::1]", "ann", "[IPv6:2001:db8::1]"),
        ("ann@[ipv6:2001:DB8:0::1]", "ann", "[IPv6:2001:db8::1]"),
        ("jörg@example.com", "jörg", "example.com"),
        ('"jörg müller"@example.com', '"jörg müller"', "example.com"),
        ("用户@例え.jp", "用户", "例え.jp"),
        ("ann@BÜCHER.example", "ann", "bücher.example"),
        ("ann@bu\u0308cher.example", "ann", "bücher.example"),
        ("ann@XN--BCHER-KVA.example", "ann", "xn--bcher-kva.example"),
        ("a" * 64 + "@example.com", "a" * 64, "example.com"),
        ("a@" + "b" * 63 + ".c", "a", "b" * 63 + ".c"),
        ("a@3com.example", "a", "3com.example"),
    ],
)
def test_parse_when_text_is_a_mailbox_then_gives_its_parts(
    text: str, local_part: str, domain: str
) -> None:
    """The grammar of RFC 5321 4.1.2 and RFC 6531 3.3; the domain is folded, nothing else is."""
    address = Address.parse(text)

    assert (local_part, domain) == (address.local_part, address.domain)
    assert address == Address.parse(str(address))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "ann",
        "ann@",
        "@example.com",
        ".ann@example.com",
        "ann.@example.com",
        "ann..lee@example.com",
        "ann lee@example.com",
        " ann@example.com",
        "ann@example.com ",
        "ann@exa mple.com",
        "ann@@example.com",
        "ann@b@example.com",
        "ann@example.com,bob@example.com",
        "<ann@example.com>",
        "Ann <ann@example.com>",
        "ann@example.com> SIZE=1",
        # Comments are of RFC 5322; here they were a way to smuggle another domain.
        "ann(comment)@example.com",
        "ann@example.com(comment)",
        "(" * 500,
        "(" * 200 + "@example.com",
        # Source routes.
        "@relay.example:ann@example.com",
        "@a,@b:ann@example.com",
        # Quoted strings.
        '"ann@example.com',
        'ann"@example.com',
        'a"n"n@example.com',
        '"ann"x@example.com',
        '"ann".lee@example.com',
        '"a"b"@example.com',
        '"ann\\"@example.com',
        '"ann\r\nRCPT TO:<x@y>"@example.com',
        '"ann\\\r"@example.com',
        '"ann\n"@example.com',
        '"ann\0"@example.com',
        '"ann\t"@example.com',
        '"ann\x7f"@example.com',
        "ann\r\n@example.com",
        "ann@example.com\n",
        "ann@example.com\r",
        "ann\x00@example.com",
        "ann@example\x00.com",
        # Domains.
        "ann@.example.com",
        "ann@example..com",
        "ann@example.com.",
        "ann@-example.com",
        "ann@example-.com",
        "ann@exam_ple.com",
        "ann@" + "b" * 64 + ".com",
        "ann@192.0.2.1",
        "ann@1",
        # Literals.
        "ann@[192.0.2.256]",
        "ann@[192.0.2]",
        "ann@[192.0.02.1]",
        "ann@[192.0.2.1",
        "ann@192.0.2.1]",
        "ann@[2001:db8::1]",
        "ann@[IPv6:2001:db8:::1]",
        "ann@[IPv6:fe80::1%eth0]",
        "ann@[IPv6:1:2:3:4:5:6:7:8:9]",
        "ann@[]",
        "ann@[example.com]",
        "ann@[tag:content]",
        "ann@[192.0.2.1]x",
        "ann@[٣.0.2.1]",
        # UTF-8.
        "ann\ud800@example.com",
        "ann\u202egro@example.com",
        "ann\u200b@example.com",
        "ann\u0085@example.com",
        "ann\u2028@example.com",
        "ann\xa0@example.com",
        "ann\ufeff@example.com",
        "ann@\uff45xample.com",
        "ann@example\u3002com",
        "ann@exam\u200dple.com",
        "ann@ex\u2100mple.com",
        "ann@💩.example",
        "ann@\u0308x.example",
        "ann@" + "ü" * 63 + ".example",
        # Too long.
        "a" * 65 + "@example.com",
        "é" * 33 + "@example.com",
        '"' + "a" * 63 + '"@example.com',
        "a@" + ".".join(["b" * 62] * 4) + ".com",
        "ü" * 30 + "@" + ".".join(["b" * 62] * 3) + ".example",
        "a" * 10_000_000,
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_parse_when_text_is_hostile_then_refused(text: str) -> None:
    """Nothing that some other parser could read differently gets in."""
    with pytest.raises(AddressSyntaxError) as refusal:
        Address.parse(text)

    public = str(refusal.value)
    assert public.isascii()
    assert public.isprintable()
    assert text == "" or len(text) < 4 or text not in public


def test_parse_when_address_is_at_its_limits_then_allowed() -> None:
    """254 octets are the most: 256 for the path, less its brackets (RFC 5321 4.5.3.1.3)."""
    text = "a" * 64 + "@" + ".".join(["b" * 62, "c" * 62, "d" * 63])

    assert len(text) == 254
    assert text == str(Address.parse(text))
    with pytest.raises(AddressSyntaxError):
        Address.parse(text + "d")


@given(st.one_of(_dot_string, _quoted), _domain)
def test_parse_when_grammar_made_the_text_then_it_is_read_back(local: str, domain: str) -> None:
    """Whatever the grammar makes is an address, and str() gives it back."""
    if len(local.encode()) > 64:
        local = "x"
    text = f"{local}@{domain}"

    assert text == str(Address.parse(text))


@given(st.text(st.sampled_from('ab.@"\\<>()[]:,; \r\n\0éü\u3002-1'), max_size=20))
def test_parse_when_text_is_anything_then_address_or_refusal(text: str) -> None:
    """No other exception, and what passes can stand in a command line and in brackets."""
    try:
        address = Address.parse(text)
    except AddressSyntaxError:
        return

    assert not any(ord(character) < 32 or ord(character) == 127 for character in str(address))
    assert (str(address), "") == split_path(f"<{address}>")
    assert address.key == Address.parse(str(address)).key
    assert Address.parse(address.key).key == address.key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann@Example.com", "ann@example.COM"),
        ('"ann"@example.com', "ann@example.com"),
        ('"a\\nn"@example.com', "ann@example.com"),
        ('"a b"@example.com', '"a\\ b"@example.com'),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@[IPv6:2001:DB8::1]", "ann@[ipv6:2001:db8:0:0:0:0:0:1]"),
    ],
)
def test_key_when_two_spellings_are_one_mailbox_then_equal(one: str, other: str) -> None:
    """Sender binding does not turn on quoting, ASCII case or the form of the domain."""
    assert Address.parse(one).key == Address.parse(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@example.com", "ann@example.org"),
        ("ann@example.com", "bob@example.com"),
        ("a.b@example.com", "ab@example.com"),
        ("ann+x@example.com", "ann@example.com"),
        ("JÖRG@example.com", "jörg@example.com"),
        ("\u212aann@example.com", "kann@example.com"),
        ("straße@example.com", "strasse@example.com"),
        ("ann@straße.example", "ann@strasse.example"),
        ('" ann"@example.com', "ann@example.com"),
        ('"ann@example.org"@example.com', "ann@example.org"),
    ],
)
def test_key_when_mailboxes_differ_then_differs(one: str, other: str) -> None:
    """Only ASCII has an agreed case; a Kelvin sign is no k."""
    assert Address.parse(one).key != Address.parse(other).key


def test_ascii_domain_gives_a_labels() -> None:
    """The form for DNS and for hosts without SMTPUTF8 (RFC 5891)."""
    address = Address.parse("ann@Bücher.example")

    assert address.ascii_domain == "xn--bcher-kva.example"
    assert not address.is_ascii
    assert Address.parse("ann@xn--bcher-kva.example").is_ascii
    assert not Address.parse("jörg@example.com").is_ascii


def test_reverse_path_when_empty_then_null() -> None:
    """`<>` is the null reverse-path (RFC 5321 4.5.5)."""
    assert ReversePath.parse("") == NULL
    assert NULL.is_null
    assert str(NULL) == ""
    assert not ReversePath.parse("a@b").is_null
    assert str(ReversePath.parse("a@B")) == "a@b"


def test_forward_path_when_empty_then_refused() -> None:
    """Nobody is called nothing."""
    with pytest.raises(AddressSyntaxError):
        ForwardPath.parse("")
    assert str(ForwardPath.parse("a@B")) == "a@b"


@pytest.mark.parametrize(
    ("argument", "path", "parameters"),
    [
        ("<ann@example.com>", "ann@example.com", ""),
        ("<ann@example.com> SIZE=1 BODY=8BITMIME", "ann@example.com", "SIZE=1 BODY=8BITMIME"),
        ("<ann@example.com>  SIZE=1 ", "ann@example.com", "SIZE=1"),
        ("<ann@example.com> ORCPT=rfc822;<x>", "ann@example.com", "ORCPT=rfc822;<x>"),
        ("<>", "", ""),
        ("<> RET=HDRS", "", "RET=HDRS"),
        ('<"a>b"@example.com> X=1', '"a>b"@example.com', "X=1"),
        ('<"a\\">b"@example.com>', '"a\\">b"@example.com', ""),
    ],
)
def test_split_path_parts_address_and_parameters(argument: str, path: str, parameters: str) -> None:
    """A bracket in a quoted string does not end the path."""
    assert (path, parameters) == split_path(argument)


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "ann@example.com",
        " <ann@example.com>",
        "<ann@example.com",
        "ann@example.com>",
        "<ann@example.com>SIZE=1",
        "<ann@example.com>>",
        "<<ann@example.com>>",
        "<ann@example.com> \r\nDATA",
        "<ann@example.com>\tSIZE=1",
        '<"ann@example.com>',
        '<"ann\r"@example.com>',
        "<@relay.example:ann@example.com>",
        "<" * 100_000,
        '<"' + "\\" * 99_999,
        "<" + '"' * 99_999,
        "<a" + " " * 99_999 + "\0",
    ],
    ids=lambda argument: ascii(argument[:30]),
)
@pytest.mark.timeout(10)
def test_split_path_when_argument_is_malformed_then_refused(argument: str) -> None:
    """No brackets, two addresses, a source route, controls: 501, in linear time."""
    with pytest.raises(AddressSyntaxError):
        split_path(argument)
