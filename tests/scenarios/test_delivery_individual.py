"""From acceptance to the next hop: what is made for each recipient alone, and what is shared."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from email import message_from_bytes
from email.policy import default

import dkim
import pytest

from gatewayd.config.delivery import NextHop, TlsMode
from gatewayd.errors import Code, Refused
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.keys.verp import ReversePaths
from gatewayd.mail.address import Address
from gatewayd.mail.compose import Attachment, Fields
from gatewayd.mailboxes.accounts import Change
from gatewayd.policy.submission import Door, Options
from gatewayd.tracking.links import Links
from tests.fakes.clock import NOW
from tests.fakes.delivering import Leaving
from tests.fakes.smtp_peer import SmtpPeer
from tests.fakes.smtp_sink import Copy, SmtpSink
from tests.fakes.world import ANN, World, submission

BASE = "https://gw.example"
DOMAIN = "bounces.example.com"
LINK = "https://shop.example/offer?a=1&amp;b=2"
HTML = f'<html><body><p>Hello</p><a href="{LINK}">offer</a></body></html>\n'
HEADER = b"From: ann@example.com\r\nTo: bob@example.net\r\nSubject: hello\r\nMIME-Version: 1.0\r\n"
BY_SMTP = HEADER + b"Content-Type: text/html\r\n%b\r\n" + HTML.replace("\n", "\r\n").encode()
TO = ("bob@example.net", "zoe@example.org")
Lookup = Callable[..., bytes]


@dataclass
class Outside:
    """What the world sees of this gateway, and what it makes its marks with."""

    links: Links
    reverse_paths: ReversePaths
    lookup: Lookup

    def named_by(self, copy: Copy) -> str | None:
        local_part, _, domain = copy.reverse_path.partition("@")
        assert domain == DOMAIN
        return self.reverse_paths.read(local_part)


@pytest.fixture
async def outside(world: World) -> Outside:
    """A gateway with a public address, a bounce domain and DKIM keys."""
    world.has_links = True
    world.apply_settings()
    records = {f"{each.name}.": each.value for each in await world.domains.add("example.com")}

    def lookup(name: bytes, **_: object) -> bytes:
        return records[name.decode()].encode()

    return Outside(
        links=Links(new_ring(Purpose.TRACKING, created_at=NOW), BASE),
        reverse_paths=ReversePaths(
            new_ring(Purpose.VERP, created_at=NOW),
            domain=DOMAIN,
            lifetime=dt.timedelta(days=14),
            clock=world.clock,
        ),
        lookup=lookup,
    )


def html() -> Fields:
    """What a client sends over HTTP."""
    return Fields(from_=Address.parse(ANN), subject="hello", text="Hello.\n", html=HTML)


def with_fields(*lines: bytes) -> bytes:
    """An HTML message over SMTP with more header fields."""
    return BY_SMTP % b"".join(line + b"\r\n" for line in lines)


def hop(port: int) -> NextHop:
    return NextHop(host="127.0.0.1", port=port, tls_mode=TlsMode.NONE_ON_LOOPBACK)


async def copies(world: World, outside: Outside) -> list[Copy]:
    """What the next hop gets of everything that is due."""
    with SmtpSink() as sink:
        async with leaving(world, outside, hop(sink.port)) as way:
            await way.deliver()
        return sink.copies


def leaving(world: World, outside: Outside, next_hop: NextHop) -> Leaving:
    return Leaving(
        world=world,
        next_hop=next_hop,
        links=outside.links,
        reverse_paths=outside.reverse_paths,
    )


def signatures_hold(octets: bytes, lookup: Lookup) -> list[bool]:
    return [dkim.DKIM(octets).verify(idx=index, dnsfunc=lookup) for index in range(2)]


def signed_fields(copy: Copy) -> str:
    """The first signature, without its folding."""
    return copy.field("DKIM-Signature").replace(" ", "")


def content_of(octets: bytes) -> bytes:
    return octets.partition(b"\r\n\r\n")[2]


def body_of(copy: Copy) -> bytes:
    return content_of(copy.octets)


async def test_each_recipient_gets_a_transaction_of_its_own(world: World, outside: Outside) -> None:
    """With links, a way out and a reverse-path that lead to nobody else, all of it signed."""
    principal = await world.principal()
    accepted = await world.intake.accept(submission(principal, *TO, content=html(), door=Door.HTTP))

    sent = await copies(world, outside)

    assert [copy.forward_paths for copy in sent] == [(address,) for address in TO]
    for copy, recipient in zip(sent, accepted.recipients, strict=True):
        one = recipient.recipient_id
        assert outside.named_by(copy) == one
        assert outside.links.find(copy.octets) == {one}
        assert copy.field("List-Unsubscribe") == f"<{outside.links.unsubscribe_url(one)}>"
        assert copy.field("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
        assert ":List-Unsubscribe:List-Unsubscribe-Post;" in signed_fields(copy)
        assert signatures_hold(copy.octets, outside.lookup) == [True, True]
        assert body_of(copy).count(b"/track/open/") == 1
        assert b"/track/click/" in body_of(copy)


async def test_retry_sends_the_same_octets(world: World, outside: Outside) -> None:
    """Also after a restart: the reverse-path, the links and the signatures (promise X3)."""
    principal = await world.principal()
    await world.intake.accept(submission(principal, content=html(), door=Door.HTTP))

    async with SmtpPeer(answers={"DOT": [b"451 4.3.0 later\r\n"]}) as peer:
        async with leaving(world, outside, peer.next_hop()) as way:
            await way.deliver()
        world.clock.advance(hours=1)
        async with leaving(world, outside, peer.next_hop()) as way:
            await way.deliver()

        pattern = rb"(MAIL FROM:<[^>]+>).*?DATA\r\n(.*?)\r\n\.\r\n"
        first, second = re.findall(pattern, peer.wire, re.DOTALL)
        assert first == second
        assert b"/track/click/" in first[1]
        assert len(peer.mails) == 1


async def test_equal_octets_go_together(world: World, outside: Outside) -> None:
    """One transaction for both, and its reverse-path names the message."""
    principal = await world.principal()
    await world.mailboxes.update(ANN, Change(unsubscribe=False))
    accepted = await world.intake.accept(submission(principal, *TO, content=with_fields()))

    (copy,) = await copies(world, outside)

    assert copy.forward_paths == TO
    assert outside.named_by(copy) == accepted.queue_id
    assert copy.field("List-Unsubscribe") == ""
    assert body_of(copy) == content_of(with_fields())


async def test_submitters_own_way_out_stays(world: World, outside: Outside) -> None:
    """Ours is not added, it is signed, and the mail is the same for all."""
    principal = await world.principal()
    own = with_fields(b"List-Unsubscribe: <https://list.example/leave>")
    await world.intake.accept(submission(principal, *TO, content=own))

    (copy,) = await copies(world, outside)

    assert copy.octets.lower().count(b"\r\nlist-unsubscribe") == 1
    assert copy.field("List-Unsubscribe") == "<https://list.example/leave>"
    assert ":List-Unsubscribe;" in signed_fields(copy)
    assert signatures_hold(copy.octets, outside.lookup) == [True, True]


async def test_signed_content_is_untouched(world: World, outside: Outside) -> None:
    """Whatever was asked for: an S/MIME signature covers every octet of it (RFC 8551 3.5)."""
    principal = await world.principal()
    part = b"Content-Type: text/html\r\n\r\n" + HTML.replace("\n", "\r\n").encode()
    signed = (
        HEADER
        + b"Content-Type: multipart/signed; boundary=b; micalg=sha-256;\r\n"
        + b' protocol="application/pkcs7-signature"\r\n\r\n--b\r\n'
        + part
        + b"\r\n--b\r\nContent-Type: application/pkcs7-signature\r\n\r\nMIAG\r\n--b--\r\n"
    )
    wish = Options(track=frozenset({"opens", "clicks"}))
    await world.intake.accept(submission(principal, content=signed, options=wish))

    (copy,) = await copies(world, outside)

    assert body_of(copy) == content_of(signed)
    assert copy.field("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    assert signatures_hold(copy.octets, outside.lookup) == [True, True]


async def test_without_a_public_address_nothing_is_made(world: World, outside: Outside) -> None:
    """What was not asked for is left out; what was asked for is refused, with the reason."""
    world.has_links = False
    world.apply_settings()
    principal = await world.principal()
    await world.intake.accept(submission(principal, *TO, content=html(), door=Door.HTTP))
    wish = Options(track=frozenset({"clicks"}))
    with pytest.raises(Refused, match=r"http\.public_url") as refused:
        await world.intake.accept(
            submission(principal, content=html(), door=Door.HTTP, options=wish)
        )

    (copy,) = await copies(world, outside)

    assert refused.value.kind is Code.OPTION_INVALID
    assert copy.field("List-Unsubscribe") == ""
    assert b"/track/" not in copy.octets


@pytest.mark.parametrize(
    ("track_smtp", "value", "opens", "clicks"),
    [
        (False, None, 0, 0),
        (True, None, 1, 1),
        (True, b"off", 0, 0),
        (True, b"clicks", 0, 1),
        (False, b"opens, clicks", 1, 1),
    ],
)
async def test_smtp_is_tracked_where_it_was_asked_for(
    world: World,
    outside: Outside,
    value: bytes | None,
    opens: int,
    clicks: int,
    *,
    track_smtp: bool,
) -> None:
    """By the mailbox, or by a field of the message, which is taken out."""
    principal = await world.principal()
    await world.mailboxes.update(ANN, Change(track_smtp=track_smtp))
    lines = () if value is None else (b"X-Gatewayd-Track: " + value,)
    await world.intake.accept(submission(principal, content=with_fields(*lines)))

    (copy,) = await copies(world, outside)

    body = body_of(copy)
    assert (body.count(b"/track/open/"), body.count(b"/track/click/")) == (opens, clicks)
    assert b"x-gatewayd" not in copy.octets.lower()
    assert signatures_hold(copy.octets, outside.lookup) == [True, True]


async def test_large_newsletter_is_tracked(world: World, outside: Outside) -> None:
    """Over 64 KiB it lies in the spool; attachments are not touched."""
    principal = await world.principal()
    attachment = Attachment(
        filename="a.bin",
        content_type="application/octet-stream",
        content=bytes(range(256)) * 1000,
        disposition="attachment",
    )
    content = replace(html(), attachments=(attachment,))
    await world.intake.accept(submission(principal, *TO, content=content, door=Door.HTTP))

    sent = await copies(world, outside)

    assert len(sent) == 2
    for copy in sent:
        assert b"/track/click/" in body_of(copy)
        assert signatures_hold(copy.octets, outside.lookup) == [True, True]
        parts = message_from_bytes(copy.octets, policy=default).iter_attachments()
        assert [part.get_content() for part in parts] == [attachment.content]
