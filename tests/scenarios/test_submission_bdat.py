"""A client sends its message in chunks (RFC 3030)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gatewayd.config.limits import LimitsSection
from gatewayd.mail.message import RawMessage
from tests.fakes.submission_client import SubmissionClient, connect
from tests.fakes.submission_host import MAILBOX, TOKEN, Host, submission_host

_ENVELOPE = [f"MAIL FROM:<{MAILBOX}>", "RCPT TO:<bob@example.net>"]
_MESSAGE = b"Subject: x\r\n\r\n.dots\r\n..stay\r\n.\r\nas they are\r\n"


@asynccontextmanager
async def _begun(
    limits: LimitsSection | None = None,
) -> AsyncIterator[tuple[Host, SubmissionClient]]:
    """A client that has had MAIL and RCPT accepted."""
    async with submission_host(limits=limits) as host, connect(host.address) as client:
        await client.hello()
        await client.log_in(MAILBOX, TOKEN)
        await client.ask_all(_ENVELOPE)
        yield host, client


def _chunk(octets: bytes, *, last: bool = False) -> bytes:
    return b"BDAT %d%b\r\n%b" % (len(octets), b" LAST" if last else b"", octets)


async def test_message_in_one_chunk_is_accepted() -> None:
    """No dot is special."""
    async with _begun() as (host, client):
        client.send(_chunk(_MESSAGE, last=True))
        answer = await client.read()

    assert str(answer) == "250 2.0.0 queue-1 accepted for 1 recipient"
    assert host.intake.contents == [_MESSAGE]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
async def test_message_in_many_chunks_is_accepted(size: int) -> None:
    """Pipelined, with an empty last one; each has a reply."""
    pieces = [_MESSAGE[at : at + size] for at in range(0, len(_MESSAGE), size)]
    async with _begun() as (host, client):
        client.send(b"".join(map(_chunk, pieces)) + _chunk(b"", last=True) + b"NOOP\r\n")
        answers = [await client.read() for _ in range(len(pieces) + 2)]

    assert {250} == {answer.code for answer in answers}
    assert str(answers[0]) == f"250 2.0.0 {len(pieces[0])} octets received"
    assert host.intake.contents == [_MESSAGE]


async def test_chunk_is_read_to_its_last_octet_and_no_further() -> None:
    """What looks like a command inside it is content, and what follows is a command."""
    message = b"Subject: x\r\n\r\nQUIT\r\n"
    async with _begun() as (host, client):
        client.send(_chunk(message, last=True) + b"NOOP\r\n")
        codes = [(await client.read()).code for _ in range(2)]

    assert codes == [250, 250]
    assert host.intake.contents == [message]


@pytest.mark.parametrize(
    "content", [b"A: 1\r\n\r\nx\ny\r\n", b"A: 1\r\n\r\nx\ry\r\n", b"A: 1\0\r\n"]
)
async def test_chunk_with_a_bare_line_end_is_refused(content: bytes) -> None:
    """CRLF only, as in DATA: it may go on by DATA to the next hop."""
    async with _begun() as (host, client):
        client.send(_chunk(content) + _chunk(b"more\r\n", last=True))
        first, second = await client.read(), await client.read()
        assert (await client.ask("NOOP")).code == 250

    assert str(first).startswith("550 5.5.2 line_endings_invalid: ")
    assert second.code == 503
    assert not host.intake.accepted


async def test_crlf_between_two_chunks_is_whole() -> None:
    """A CR that ends a chunk and an LF that begins the next are a line end."""
    async with _begun() as (host, client):
        client.send(
            _chunk(b"A: 1\r") + _chunk(b"\n\r") + _chunk(b"\nx\r") + _chunk(b"\n", last=True)
        )
        assert [(await client.read()).code for _ in range(4)] == [250] * 4

    assert host.intake.contents == [b"A: 1\r\n\r\nx\r\n"]


@pytest.mark.parametrize("content", [b"A: 1\r\n\r\nends in cr\r", b"A: no end of line"])
async def test_message_that_ends_in_the_middle_is_refused(content: bytes) -> None:
    """A CR alone, a field without its end."""
    async with _begun() as (host, client):
        client.send(_chunk(content, last=True))

        assert (await client.read()).code == 550
    assert not host.intake.accepted


async def test_data_and_bdat_do_not_mix() -> None:
    """503 in both orders, and RSET begins anew (RFC 3030 3)."""
    async with _begun() as (host, client):
        client.send(_chunk(b"A: 1\r\n"))
        assert (await client.read()).code == 250
        data = await client.ask("DATA")
        rcpt = await client.ask("RCPT TO:<late@example.net>")
        await client.ask("RSET")
        await client.ask_all([*_ENVELOPE, "DATA"])
        done = await client.ask("Subject: new\r\n\r\nx\r\n.")

    assert [data.code, rcpt.code, done.code] == [503, 503, 250]
    assert host.intake.contents == [b"Subject: new\r\n\r\nx\r\n"]
    assert host.budget.used_octets == 0


async def test_chunk_out_of_order_is_read_and_refused() -> None:
    """None of its octets is taken for a command."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        await client.log_in(MAILBOX, TOKEN)
        client.send(_chunk(b"MAIL FROM:<x@y.example>\r\nQUIT\r\n") + b"NOOP\r\n")
        without_mail = [await client.read() for _ in range(2)]
        await client.ask_all([_ENVELOPE[0], "RCPT TO:<x@blocked.example>"])
        client.send(_chunk(b"QUIT\r\n", last=True) + b"NOOP\r\n")
        without_recipient = [await client.read() for _ in range(2)]

    assert [answer.code for answer in without_mail] == [503, 250]
    assert [answer.code for answer in without_recipient] == [554, 250]
    assert not host.intake.accepted


@pytest.mark.parametrize("argument", ["", "LAST", "x", "-1", "10 FIRST", "1 2 LAST", "0x10"])
async def test_chunk_of_unknown_size_ends_the_session(argument: str) -> None:
    """Where it ends, nobody knows."""
    async with _begun() as (_, client):
        answer = await client.ask(f"BDAT {argument}")

        assert (answer.code, answer.status) == (501, "5.5.4")
        assert await client.is_closed()


async def test_chunks_over_the_limit_are_dropped_and_refused_once() -> None:
    """552, then 503 until the next MAIL."""
    async with _begun(LimitsSection(message_octets=1000)) as (host, client):
        block = b"A: 1\r\n\r\n" + b"x" * 90 + b"\r\n" * 300
        client.send(_chunk(block) + _chunk(block) + _chunk(b"", last=True) + b"NOOP\r\n")
        answers = [str(await client.read())[:9] for _ in range(4)]
        # One that is far too large is not even read.
        client.send(b"BDAT 2001 LAST\r\n")
        last = await client.read()

        assert (last.code, last.status) == (552, "5.3.4")
        assert await client.is_closed()
    assert answers == ["250 2.0.0", "552 5.3.4", "503 5.5.1", "250 2.0.0"]
    assert not host.intake.accepted


async def test_stranger_cannot_send_chunks() -> None:
    """They are read and refused."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        client.send(_chunk(b"A: 1\r\n\r\nx\r\n", last=True))

        assert (await client.read()).code == 503
    assert host.budget.used_octets == 0


async def test_large_message_in_chunks_is_spooled() -> None:
    """From 64 KiB on it is a file."""
    body = (b"x" * 76 + b"\r\n") * 5000
    async with _begun() as (host, client):
        client.send(
            _chunk(b"A: 1\r\n\r\n") + _chunk(body[:200_000]) + _chunk(body[200_000:], last=True)
        )
        assert [(await client.read()).code for _ in range(3)] == [250] * 3

    content = host.intake.accepted[0].content
    assert isinstance(content, RawMessage)
    assert content.size_octets == len(b"A: 1\r\n\r\n") + len(body)
