"""bounces.signed: an id is believed with its MAC, at our domain, in time; wherever it stands."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gatewayd import ids
from gatewayd.bounces.signed import FIND_LIMIT, Signed, header_of
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.keys.verp import ReversePaths
from gatewayd.tracking.links import Links
from tests.fakes.clock import NOW, ManualClock

IDENT = "01936f1e-0000-7000-8000-00000000000a"
OTHER = "01936f1e-0000-7000-8000-00000000000b"


@pytest.mark.parametrize(
    "form", [str, str.upper, lambda text: f"<{text}>", lambda text: f"={text}."]
)
def test_address_is_found_in_text(
    form: Callable[[str], str], signed: Signed, reverse_paths: ReversePaths
) -> None:
    """Folded, in brackets, glued to what stands around it."""
    text = form(str(reverse_paths.make(IDENT))).encode()

    assert signed.addresses(b"Return-Path: " + text + b"\r\n") == {IDENT}


def test_address_of_another_domain_is_nobodys(signed: Signed, reverse_paths: ReversePaths) -> None:
    text = str(reverse_paths.make(IDENT))

    assert signed.addresses(text.replace("example.com", "example.net").encode()) == set()
    assert signed.addresses(f"{text}.evil.example".encode()) == set()


def test_forged_address_is_nobodys(signed: Signed, reverse_paths: ReversePaths) -> None:
    """Whatever character is changed."""
    text = str(reverse_paths.make(IDENT)).encode()
    forged = [
        text[:at] + (b"a" if text[at : at + 1] != b"a" else b"b") + text[at + 1 :]
        for at in range(7, 55)
        if text[at : at + 1] != b"."
    ]

    assert set().union(*(signed.addresses(one) for one in forged)) == set()


def test_expired_address_is_nobodys(
    signed: Signed, reverse_paths: ReversePaths, clock: ManualClock
) -> None:
    text = str(reverse_paths.make(IDENT)).encode()
    clock.advance(days=15)

    assert signed.addresses(text) == set()


def test_header_section_goes_before_the_original_and_the_rest(
    signed: Signed, reverse_paths: ReversePaths
) -> None:
    ours, theirs = (str(reverse_paths.make(one)).encode() for one in (IDENT, OTHER))
    outer = b"To: " + ours + b"\r\n\r\nbody " + theirs

    assert signed.first(outer, theirs) == (IDENT,)
    assert signed.first(b"To: x\r\n\r\nbody " + ours, theirs) == (OTHER,)
    assert signed.first(b"To: x\r\n\r\nX-Postfix-Sender: rfc822; " + ours, b"") == (IDENT,)
    assert signed.first(b"To: x\r\n\r\nbody", b"") == ()


def test_work_is_bounded(signed: Signed, reverse_paths: ReversePaths) -> None:
    forged = str(reverse_paths.make(IDENT)).encode().replace(b"bounce+", b"bounce+aaaa", 1)
    many = (forged[:59] + b"@bounces.example.com ") * FIND_LIMIT
    text = many + str(reverse_paths.make(OTHER)).encode()

    assert signed.addresses(text) in (set(), {OTHER})


def test_without_a_bounce_domain_and_links_nothing_is_ours(reverse_paths: ReversePaths) -> None:
    text = str(reverse_paths.make(IDENT)).encode()
    none = Signed(None, None)

    assert (none.addresses(text), none.tokens(text), none.first(text, text)) == (set(), set(), ())


def test_token_of_another_ring_is_nobodys(signed: Signed, links: Links) -> None:
    other = Links(new_ring(Purpose.TRACKING, created_at=NOW), "https://gw.example")
    recipient = ids.recipient_id(NOW)

    assert signed.tokens(links.unsubscribe_url(recipient).encode()) == {recipient}
    assert signed.tokens(other.unsubscribe_url(recipient).encode()) == set()


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n"])
def test_header_ends_at_the_blank_line(end: bytes) -> None:
    assert header_of(b"A: 1" + end + b"B: 2").strip() == b"A: 1"
    assert header_of(b"A: 1") == b"A: 1"
