"""mail.reply: a peer's reply is read with tolerance and is safe; ours is strict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail.reply import Reply, ReplySyntaxError
from gatewayd.mail.status import EnhancedStatus


@pytest.mark.parametrize(
    ("lines", "code", "status", "text"),
    [
        ([b"250 OK\r\n"], 250, None, "OK"),
        ([b"250"], 250, None, ""),
        ([b"250 "], 250, None, ""),
        ([b"250 2.1.5 Recipient ok"], 250, "2.1.5", "Recipient ok"),
        ([b"250 2.1.5"], 250, "2.1.5", ""),
        ([b"550-5.1.1 No such user", b"550 5.1.1 here"], 550, "5.1.1", "No such user here"),
        ([b"550-No such user", b"550 5.1.1 here"], 550, "5.1.1", "No such user here"),
        # A status of another class than the code is text (RFC 2034 4).
        ([b"550 4.2.2 Mailbox full"], 550, None, "4.2.2 Mailbox full"),
        # A version or an address is no status.
        ([b"250 5.7.1-beta ready"], 250, None, "5.7.1-beta ready"),
        ([b"550 5.01.1 x"], 550, None, "5.01.1 x"),
        # The last code counts where they differ.
        ([b"250-first", b"451 second"], 451, None, "first second"),
        # Last line with a hyphen: the caller decided that it is the last.
        ([b"250-OK"], 250, None, "OK"),
        ([b"354 go on"], 354, None, "go on"),
        ([b"550 5.7.1 gr\xc3\xbcn"], 550, "5.7.1", "grün"),
        ([b"550 5.7.1 gr\xfcn"], 550, "5.7.1", "gr\ufffdn"),
        ([b"550 a\0b\x1b[31mc\rd\te"], 550, None, "a\\x00b\\x1b[31mc\\x0dd\\x09e"),
        ([b"550 a\xe2\x80\xaeb\xe2\x80\xa8c"], 550, None, "a\\u202eb\\u2028c"),
    ],
)
def test_parse_reads_what_peers_send(
    lines: list[bytes], code: int, status: str | None, text: str
) -> None:
    """Code, status and one safe line of text, from whatever is out there (RFC 5321 4.2)."""
    reply = Reply.parse(lines)

    assert (code, text) == (reply.code, reply.text)
    assert status == (None if reply.status is None else str(reply.status))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b""],
        [b"OK"],
        [b"25"],
        [b"2500 OK"],
        [b"250OK"],
        [b"150 x"],
        [b"650 x"],
        [b"250 a", b"x"],
    ],
)
def test_parse_when_octets_are_no_reply_then_refused(lines: list[bytes]) -> None:
    """Without a code from 200 to 599 on each line we do not know what it says."""
    with pytest.raises(ReplySyntaxError):
        Reply.parse(lines)


@given(st.lists(st.binary(max_size=300).map(b"550-".__add__), min_size=1, max_size=8))
def test_parse_when_text_is_anything_then_it_is_short_and_shown_safely(lines: list[bytes]) -> None:
    """What a peer says can be logged, stored and shown as it is."""
    reply = Reply.parse(lines)

    assert len(reply.text) <= 512
    assert not any(character < " " or "\x7f" <= character < "\xa0" for character in reply.text)


@pytest.mark.timeout(10)
def test_parse_when_reply_is_huge_then_bounded() -> None:
    """A peer that never stops cannot make us keep or read more than a little."""
    long = Reply.parse([b"550 " + b"a" * 1_000_000])
    many = Reply.parse([b"550-x"] * 100_000 + [b"550 5.7.1 last"])

    assert len(long.text) == 512
    assert (many.code, str(many.status)) == (550, "5.7.1")


@pytest.mark.parametrize(
    ("code", "positive", "temporary", "permanent"),
    [
        (250, True, False, False),
        (354, True, False, False),
        (421, False, True, False),
        (550, False, False, True),
    ],
)
def test_kind_of_reply_is_its_first_digit(
    code: int, positive: bool, temporary: bool, permanent: bool
) -> None:
    """RFC 5321 4.2.1."""
    reply = Reply(code, None, "")

    assert (positive, temporary, permanent) == (
        reply.is_positive,
        reply.is_temporary,
        reply.is_permanent,
    )


@pytest.mark.parametrize(
    ("reply", "octets"),
    [
        (Reply(250, EnhancedStatus(2, 0, 0), "OK"), b"250 2.0.0 OK\r\n"),
        (Reply(354, None, "go on"), b"354 go on\r\n"),
        (Reply(250, None, "mx\nPIPELINING\nSIZE 1"), b"250-mx\r\n250-PIPELINING\r\n250 SIZE 1\r\n"),
        (
            Reply(550, EnhancedStatus(5, 7, 1), "no\nnever"),
            b"550-5.7.1 no\r\n550 5.7.1 never\r\n",
        ),
        (Reply(550, None, "a\r\x00b"), b"550 a\\x0d\\x00b\r\n"),
        (Reply(550, None, "grün"), b"550 gr\\xfcn\r\n"),
    ],
)
def test_render_gives_the_octets_of_the_wire(reply: Reply, octets: bytes) -> None:
    """Status on each line (RFC 2034 4), hyphens but on the last (RFC 5321 4.2.1), no controls."""
    assert octets == reply.render()


def test_render_when_client_takes_utf8_then_text_is_utf8() -> None:
    """Only for a client that said SMTPUTF8 (RFC 6531 3.7.4.2)."""
    assert Reply(550, None, "grün").render(smtputf8=True) == "550 grün\r\n".encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=1500), st.booleans())
def test_render_when_text_is_long_then_lines_keep_the_limit(text: str, smtputf8: bool) -> None:
    """At most 512 octets a line with CRLF (RFC 5321 4.5.3.1.5), each a reply line of its own."""
    octets = Reply(550, EnhancedStatus(5, 7, 1), text).render(smtputf8=smtputf8)
    lines = octets.split(b"\r\n")

    assert lines.pop() == b""
    assert all(len(line) <= 510 for line in lines)
    assert all(line.startswith(b"550-5.7.1 ") for line in lines[:-1])
    assert lines[-1].startswith(b"550 5.7.1 ")
    assert b"\r" not in b"".join(lines)
    assert b"\n" not in b"".join(lines)
    for line in lines:
        line.decode("utf-8" if smtputf8 else "ascii")


@given(st.text("abc .:;", max_size=400).map(str.strip))
def test_reply_when_rendered_and_parsed_then_the_same(text: str) -> None:
    """What we write, we read."""
    text = " ".join(text.split())
    reply = Reply(451, EnhancedStatus(4, 3, 0), text)

    assert reply == Reply.parse(reply.render().splitlines())


def test_str_is_one_line_for_people() -> None:
    """As in a transcript."""
    assert str(Reply(550, EnhancedStatus(5, 1, 1), "no such user")) == "550 5.1.1 no such user"
    assert str(Reply(250, None, "")) == "250"
