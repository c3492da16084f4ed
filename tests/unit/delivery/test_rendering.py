"""delivery.rendering: what each recipient gets, the same at each try."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from gatewayd.delivery import rendering
from gatewayd.delivery.rendering import Content, Renderer
from gatewayd.dkim.sign import body_hash
from gatewayd.errors import SpoolDamaged
from gatewayd.ids import QueueId, RecipientId
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import Body, RawMessage
from gatewayd.queue.claim import Claim
from gatewayd.tracking.links import Links
from tests.fakes.clock import NOW
from tests.fakes.delivery import FakeSpool, claim_of

BASE = "https://mail.example.com"
LINK = b"https://shop.example/offer"
HTML = b'<html><body><a href="' + LINK + b'">offer</a></body></html>\r\n'
HEADER = b"Subject: x\r\nContent-Type: text/html\r\n"
QUEUE_ID = QueueId("01936f1e-0000-7000-8000-000000000009")
ONE, OTHER = (RecipientId(f"01936f1e-0000-7000-8000-00000000000{n}") for n in (1, 2))


def links() -> Links:
    return Links(new_ring(Purpose.TRACKING, created_at=NOW), BASE)


def claim(recipient_id: RecipientId = ONE, **changed: object) -> Claim:
    made = claim_of("ann@example.net", message=RawMessage(HeaderSection(HEADER), HTML))
    (recipient,) = made.recipients
    one = replace(recipient, recipient_id=recipient_id)
    return replace(made, **({"recipients": (one,)} | changed))  # type: ignore[arg-type]  # any field


class SlowSpool(FakeSpool):
    """A spool whose disk waits for a word."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read, self.may_go_on = threading.Event(), threading.Event()
        self.readers = 0

    def blocks(self, body: Body) -> Iterator[bytes]:
        self.readers += 1
        self.is_read.set()
        assert self.may_go_on.wait(10)
        yield from super().blocks(body)


def whole(content: Content) -> bytes:
    """The body of a rendered message."""
    assert isinstance(content.body, tuple)
    return b"".join(content.body)


def test_same_for_everybody_is_what_was_accepted() -> None:
    renderer = Renderer(spool=FakeSpool(), links=links())

    found = renderer.render(claim(), is_signed=True)

    assert (found.header.octets, found.body) == (HEADER, HTML)
    assert found.body_hash == body_hash([HTML])


def test_link_to_leave_by_is_the_recipients_own() -> None:
    """Both fields come last, so that trace fields stay first; the body is as accepted."""
    made = links()
    renderer = Renderer(spool=FakeSpool(), links=made)

    header = renderer.render(claim(unsubscribe=True), is_signed=True).header
    other = renderer.render(claim(OTHER, unsubscribe=True), is_signed=True).header

    assert header.find("List-Unsubscribe") == [f"<{made.unsubscribe_url(ONE)}>".encode()]
    assert header.find("List-Unsubscribe-Post") == [b"List-Unsubscribe=One-Click"]
    assert header.octets.startswith(HEADER)
    assert other.find("List-Unsubscribe") != header.find("List-Unsubscribe")


def test_one_click_is_not_offered_where_nobody_signs() -> None:
    """Both fields must be under a DKIM signature (RFC 8058 4); the link alone needs none."""
    made = links()
    renderer = Renderer(spool=FakeSpool(), links=made)

    header = renderer.render(claim(unsubscribe=True), is_signed=False).header

    assert header.find("List-Unsubscribe") == [f"<{made.unsubscribe_url(ONE)}>".encode()]
    assert header.find("List-Unsubscribe-Post") == []


def test_tracked_body_has_links_of_its_recipient() -> None:
    """And the hash that is signed is that of the body that is sent."""
    made = links()
    renderer = Renderer(spool=FakeSpool(), links=made)
    bodies = {}
    for recipient_id in (ONE, OTHER):
        found = renderer.render(
            claim(recipient_id, tracks_opens=True, tracks_clicks=True), is_signed=True
        )
        bodies[recipient_id] = whole(found)
        assert found.body_hash == body_hash([bodies[recipient_id]])

    assert made.find(bodies[ONE]) == {ONE}
    assert made.find(bodies[OTHER]) == {OTHER}
    assert b'href="' + LINK not in bodies[ONE]
    assert bodies[ONE].count(b"<img") == 1


def test_each_try_gives_the_same_octets() -> None:
    """Also by a renderer that has forgotten the message."""
    made = links()
    wanted = claim(tracks_opens=True, tracks_clicks=True, unsubscribe=True)
    renderer = Renderer(spool=FakeSpool(), links=made)

    first, again = renderer.render(wanted, is_signed=True), renderer.render(wanted, is_signed=True)
    fresh = Renderer(spool=FakeSpool(), links=made).render(wanted, is_signed=True)

    assert first == again == fresh


def test_public_address_that_was_taken_away_leaves_the_message_as_it_is() -> None:
    """It was accepted when there was one; it still has to be delivered."""
    found = Renderer(spool=FakeSpool(), links=None).render(
        claim(tracks_opens=True, unsubscribe=True), is_signed=True
    )

    assert (found.header.octets, found.body) == (HEADER, HTML)


def large(html: bytes, attachment: bytes, *, spool: FakeSpool) -> RawMessage:
    """A message whose body lies in the spool."""
    parts = (
        b"--b\r\nContent-Type: text/html\r\n\r\n" + html,
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n" + attachment,
        b"--b--\r\n",
    )
    header = b"Content-Type: multipart/mixed; boundary=b\r\n"
    return RawMessage(HeaderSection(header), spool.add(b"".join(parts)))


def test_large_message_is_read_once_and_its_attachment_is_held_once() -> None:
    """Ten recipients of ten megabytes are not a hundred megabytes (promise X6)."""
    spool = FakeSpool()
    message = large(HTML, (b"x" * 76 + b"\r\n") * 20_000, spool=spool)
    renderer = Renderer(spool=spool, links=links())

    first, other = (
        renderer.render(
            claim(one, tracks_clicks=True, message=message, queue_id=QUEUE_ID), is_signed=True
        )
        for one in (ONE, OTHER)
    )

    assert spool.blocks_read == -(-len(spool.bodies["body"]) // 65_536)
    assert isinstance(first.body, tuple)
    assert isinstance(other.body, tuple)
    assert first.body[2] is other.body[2]
    assert first.body[1] != other.body[1]
    assert first.body_octets == len(whole(first))
    assert first.body_hash == body_hash([whole(first)])


@pytest.mark.parametrize(("links_in_it", "is_tracked"), [(5000, True), (9000, False)])
def test_html_that_would_grow_over_1_mib_is_left_as_it_is(
    links_in_it: int, *, is_tracked: bool
) -> None:
    """An attempt holds so much and not more; who may leave by a link still gets it."""
    spool = FakeSpool()
    html = b"".join(b"<a href=http://a.b/%d>x</a>\r\n" % n for n in range(links_in_it))
    message = large(html, b"x\r\n", spool=spool)

    found = Renderer(spool=spool, links=links()).render(
        claim(tracks_clicks=True, unsubscribe=True, message=message), is_signed=True
    )

    assert isinstance(found.body, tuple) is is_tracked
    assert is_tracked or found.body == spool.bodies["body"]
    assert found.header.first("List-Unsubscribe") is not None


@pytest.mark.parametrize(("lines", "is_tracked"), [(53_000, True), (54_000, False)])
def test_message_of_more_than_4_mib_is_not_read_for_its_links(
    lines: int, *, is_tracked: bool
) -> None:
    """Its size is known before; it is only hashed, block by block, and streamed."""
    spool = FakeSpool()
    message = large(HTML, (b"x" * 76 + b"\r\n") * lines, spool=spool)
    wanted = claim(tracks_clicks=True, unsubscribe=True, message=message)

    found = Renderer(spool=spool, links=links()).render(wanted, is_signed=True)

    assert isinstance(found.body, tuple) is is_tracked
    assert is_tracked or found.body is message.body
    assert found.header.first("List-Unsubscribe") is not None


@pytest.mark.parametrize(("lines", "is_held"), [(1000, True), (20_000, False)])
def test_body_that_does_not_change_is_held_if_it_is_small(lines: int, *, is_held: bool) -> None:
    """A large one is streamed from the spool for each recipient."""
    spool = FakeSpool()
    octets = (b"x" * 76 + b"\r\n") * lines
    message = RawMessage(HeaderSection(b"Content-Type: text/html\r\n"), spool.add(octets))
    renderer = Renderer(spool=spool, links=links())

    for one in (ONE, OTHER):
        for tracks in (False, True):
            wanted = claim(one, unsubscribe=True, tracks_clicks=tracks, message=message)
            found = renderer.render(wanted, is_signed=True)
            assert found.body == (octets if is_held else message.body)
            assert found.body_hash == body_hash([octets])


def test_damaged_body_is_not_rendered() -> None:
    """Nor is it remembered: each recipient of it hears the same."""
    spool = FakeSpool()
    message = large(HTML, b"x\r\n", spool=spool)
    spool.bodies["body"] = spool.bodies["body"].replace(b"offer", b"0ffer")
    renderer = Renderer(spool=spool, links=links())

    for tracks in (True, True, False):
        with pytest.raises(SpoolDamaged):
            renderer.render(
                claim(tracks_opens=tracks, unsubscribe=True, message=message, queue_id=QUEUE_ID),
                is_signed=True,
            )


def test_who_comes_while_a_message_is_compiled_waits_and_others_do_not() -> None:
    """One slow disk does not hold the mail of others."""
    spool = SlowSpool()
    slow, quick = large(HTML, b"x\r\n", spool=spool), RawMessage(HeaderSection(HEADER), HTML)
    renderer = Renderer(spool=spool, links=links())

    with ThreadPoolExecutor(3) as threads:
        waiting = [
            threads.submit(
                renderer.render,
                claim(tracks_opens=True, message=slow, queue_id=QUEUE_ID),
                is_signed=True,
            )
            for _ in range(2)
        ]
        assert spool.is_read.wait(10)
        renderer.render(claim(tracks_opens=True, message=quick), is_signed=True)
        spool.may_go_on.set()

        first, second = (each.result(10) for each in waiting)
    assert first == second
    assert spool.readers == 1


def test_forgotten_message_is_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is bounded by octets, too."""
    monkeypatch.setattr(rendering, "KEPT_OCTETS", 100)
    spool = FakeSpool()
    message = large(HTML, b"x\r\n", spool=spool)
    renderer = Renderer(spool=spool, links=links())
    wanted = claim(tracks_opens=True, message=message, queue_id=QUEUE_ID)

    first = renderer.render(wanted, is_signed=True)
    renderer.render(claim(tracks_opens=True, message=message), is_signed=True)
    again = renderer.render(wanted, is_signed=True)

    assert first == again
    assert spool.blocks_read == 3


def test_signed_content_is_left_alone() -> None:
    """Tracking finds nothing to change in it; the link to leave by is a header field."""
    header = b"Content-Type: multipart/signed; boundary=b\r\n"
    body = b"--b\r\nContent-Type: text/html\r\n\r\n" + HTML + b"--b--\r\n"
    wanted = replace(
        claim(tracks_opens=True, tracks_clicks=True, unsubscribe=True),
        message=RawMessage(HeaderSection(header), body),
    )

    found = Renderer(spool=FakeSpool(), links=links()).render(wanted, is_signed=True)

    assert found.body == body
    assert found.body_hash == body_hash([body])
