"""delivery.rendering: what each recipient gets, the same at each try."""

from __future__ import annotations

from dataclasses import replace

from gatewayd.delivery.rendering import Renderer
from gatewayd.dkim.sign import body_hash
from gatewayd.ids import RecipientId
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import RawMessage
from gatewayd.queue.claim import Claim
from gatewayd.tracking.links import Links
from tests.fakes.clock import NOW
from tests.fakes.delivery import FakeSpool, claim_of

BASE = "https://mail.example.com"
LINK = b"https://shop.example/offer"
HTML = b'<html><body><a href="' + LINK + b'">offer</a></body></html>\r\n'
HEADER = b"Subject: x\r\nContent-Type: text/html\r\n"
ONE, OTHER = (RecipientId(f"01936f1e-0000-7000-8000-00000000000{n}") for n in (1, 2))


def links() -> Links:
    return Links(new_ring(Purpose.TRACKING, created_at=NOW), BASE)


def claim(recipient_id: RecipientId = ONE, **changed: object) -> Claim:
    made = claim_of("ann@example.net", message=RawMessage(HeaderSection(HEADER), HTML))
    (recipient,) = made.recipients
    return replace(
        made,
        recipients=(replace(recipient, recipient_id=recipient_id),),
        **changed,  # type: ignore[arg-type]  # any field of a Claim
    )


def test_same_for_everybody_is_what_was_accepted() -> None:
    renderer = Renderer(spool=FakeSpool(), links=links())

    found = renderer.render(claim())

    assert (found.message.header.octets, found.message.body) == (HEADER, HTML)
    assert found.body_hash == body_hash([HTML])


def test_link_to_leave_by_is_the_recipients_own() -> None:
    """Both fields come first; the body is as accepted (RFC 8058 3.1)."""
    made = links()
    renderer = Renderer(spool=FakeSpool(), links=made)

    header = renderer.render(claim(unsubscribe=True)).message.header
    other = renderer.render(claim(OTHER, unsubscribe=True)).message.header

    assert header.find("List-Unsubscribe") == [f"<{made.unsubscribe_url(ONE)}>".encode()]
    assert header.find("List-Unsubscribe-Post") == [b"List-Unsubscribe=One-Click"]
    assert header.octets.endswith(HEADER)
    assert other.find("List-Unsubscribe") != header.find("List-Unsubscribe")


def test_tracked_body_has_links_of_its_recipient() -> None:
    """And the hash that is signed is that of the body that is sent."""
    made = links()
    renderer = Renderer(spool=FakeSpool(), links=made)
    bodies = {}
    for recipient_id in (ONE, OTHER):
        found = renderer.render(claim(recipient_id, tracks_opens=True, tracks_clicks=True))
        assert isinstance(found.message.body, bytes)
        bodies[recipient_id] = found.message.body
        assert found.body_hash == body_hash([found.message.body])

    assert made.find(bodies[ONE]) == {ONE}
    assert made.find(bodies[OTHER]) == {OTHER}
    assert b'href="' + LINK not in bodies[ONE]
    assert bodies[ONE].count(b"<img") == 1


def test_each_try_gives_the_same_octets() -> None:
    """Also by a renderer that has forgotten the message."""
    made = links()
    wanted = claim(tracks_opens=True, tracks_clicks=True, unsubscribe=True)
    renderer = Renderer(spool=FakeSpool(), links=made)

    first, again = renderer.render(wanted), renderer.render(wanted)
    fresh = Renderer(spool=FakeSpool(), links=made).render(wanted)

    assert first == again == fresh


def test_public_address_that_was_taken_away_leaves_the_message_as_it_is() -> None:
    """It was accepted when there was one; it still has to be delivered."""
    found = Renderer(spool=FakeSpool(), links=None).render(
        claim(tracks_opens=True, unsubscribe=True)
    )

    assert (found.message.header.octets, found.message.body) == (HEADER, HTML)


def test_signed_content_is_left_alone() -> None:
    """Tracking finds nothing to change in it; the link to leave by is a header field."""
    header = b"Content-Type: multipart/signed; boundary=b\r\n"
    body = b"--b\r\nContent-Type: text/html\r\n\r\n" + HTML + b"--b--\r\n"
    wanted = replace(
        claim(tracks_opens=True, tracks_clicks=True, unsubscribe=True),
        message=RawMessage(HeaderSection(header), body),
    )

    found = Renderer(spool=FakeSpool(), links=links()).render(wanted)

    assert found.message.body == body
    assert found.body_hash == body_hash([body])
