"""policy.individual: what is made for each recipient alone, one row of its table a test."""

from __future__ import annotations

import pytest

from gatewayd.errors import Refused
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import RawMessage
from gatewayd.policy import individual
from gatewayd.policy.submission import Door, Options
from tests.fakes import rows

HTML = RawMessage(
    HeaderSection(b"Content-Type: text/html\r\n"), b"<a href='https://x.example'>x</a>"
)
BOTH = ("opens", "clicks")


def decided(  # noqa: PLR0913 - the columns of the table
    *,
    tracking: str = "all",
    track_smtp: bool = False,
    unsubscribe: bool = True,
    wish: tuple[str, ...] | None = None,
    door: Door = Door.HTTP,
    has_links: bool = True,
    message: RawMessage = HTML,
) -> tuple[str, bool]:
    mailbox = rows.mailbox(
        "m1", "a@b.example", tracking=tracking, track_smtp=track_smtp, unsubscribe=unsubscribe
    )
    options = Options(track=None if wish is None else frozenset(wish))
    found = individual.decide(message, options, mailbox, door=door, has_links=has_links)
    return found.track, found.unsubscribe


@pytest.mark.parametrize(
    ("tracking", "track"),
    [("all", "clicks,opens"), ("opens", "opens"), ("clicks", "clicks"), ("off", "")],
)
def test_mailbox_decides_over_http(tracking: str, track: str) -> None:
    assert (track, True) == decided(tracking=tracking)


def test_smtp_is_left_alone_unless_the_mailbox_says_otherwise() -> None:
    assert decided(door=Door.SMTP) == ("", True)
    assert decided(door=Door.SMTP, track_smtp=True) == ("clicks,opens", True)


@pytest.mark.parametrize("door", Door)
@pytest.mark.parametrize(
    ("wish", "track"), [((), ""), (("opens",), "opens"), (BOTH, "clicks,opens")]
)
def test_message_overrides_its_mailbox(door: Door, wish: tuple[str, ...], track: str) -> None:
    for tracking in ("all", "off"):
        assert (track, True) == decided(tracking=tracking, wish=wish, door=door)


def test_without_a_public_address_nothing_is_made() -> None:
    assert decided(has_links=False) == ("", False)


def test_wish_that_cannot_be_met_is_refused() -> None:
    """The client hears which key its operator has to set; to ask for nothing is always right."""
    with pytest.raises(Refused, match=r"http\.public_url"):
        individual.check_wish(Options(track=frozenset(BOTH)), has_links=False)
    for track in (None, frozenset[str]()):
        individual.check_wish(Options(track=track), has_links=False)
    individual.check_wish(Options(track=frozenset(BOTH)), has_links=True)


@pytest.mark.parametrize(
    "field", [b"List-Unsubscribe: <mailto:x@y>", b"list-unsubscribe-POST: List-Unsubscribe=x"]
)
def test_link_to_leave_by_is_the_mailboxs_choice_and_the_submitters(field: bytes) -> None:
    """A List-Unsubscribe of its own stays, and ours is not added (RFC 8058 3.1)."""
    own = RawMessage(HeaderSection(field + b"\r\n"), b"x\r\n")

    assert decided(unsubscribe=False)[1] is False
    assert decided(message=own)[1] is False


@pytest.mark.parametrize(
    ("kind", "body", "may"),
    [
        (b"text/html; charset=utf-8", b"", True),
        (b"TEXT/HTML", b"", True),
        (b"text/plain", b"text/html", False),
        (b"multipart/alternative; boundary=b", b"--b\r\nContent-Type: Text/HTML\r\n", True),
        (b"multipart/mixed; boundary=b", b"--b\r\nContent-Type: text/plain\r\n", False),
        (b"multipart/signed; boundary=b", b"--b\r\nContent-Type: text/html\r\n", False),
        (b"multipart/encrypted; boundary=b", b"text/html", False),
        (b"application/pkcs7-mime", b"text/html", False),
    ],
)
def test_html_is_looked_for_where_it_may_be_changed(kind: bytes, body: bytes, may: bool) -> None:
    message = RawMessage(HeaderSection(b"Content-Type: " + kind + b"\r\n"), body)

    assert may is individual.may_hold_html(message)
    assert ("clicks,opens" if may else "") == decided(message=message)[0]
