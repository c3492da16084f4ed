"""Addresses are found in every spelling that reports use, and only where there is one."""

from __future__ import annotations

import pytest

from gatewayd.reports import addresses
from tests.unit.mail.stopwatch import assert_linear


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("rfc822; ann@example.com", "ann@example.com"),
        ("RFC822;ann@example.com", "ann@example.com"),
        ("rfc822;<ann@example.com>", "ann@example.com"),
        ("rfc822; rfc822; ann@example.com", "ann@example.com"),
        ("ann@example.com", "ann@example.com"),
        ("<ann@example.com>", "ann@example.com"),
        ("rfc822; Ann Other <ann@example.com>", "ann@example.com"),
        ("rfc822; ann@example.com (Ann Other)", "ann@example.com"),
        ("rfc822; ann+40example.com", "ann@example.com"),
        ("rfc822; ann+tag@example.com", "ann+tag@example.com"),
        ("rfc822; ann..lee.@carrier.example", "ann..lee.@carrier.example"),
        ('rfc822; "ann lee"@example.com', ""),
        ('rfc822; "ann.lee"@example.com', '"ann.lee"@example.com'),
        ("rfc822; ann@mailhost", "ann@mailhost"),
        ("rfc822; ann@[192.0.2.1]", "ann@[192.0.2.1]"),
        (r"utf-8; jos\x{E9}@example.com", "josé@example.com"),
        ("utf-8; josé@example.com", "josé@example.com"),
        ("x400; /C=DE/A=EXAMPLE/S=LEE/", ""),
        ("rfc822;", ""),
        ("", ""),
    ],
)
def test_a_recipient_field_names_its_address(value: str, address: str) -> None:
    assert addresses.typed(value) == address


@pytest.mark.parametrize("point", ["110000", "D800", "FFFFFF"])
def test_an_escape_that_is_no_character_stays_as_it_is(point: str) -> None:
    assert point in addresses.typed(rf"utf-8; ann.\x{{{point}}}@example.com")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<ann@example.com>: 550 unknown", ["ann@example.com"]),
        ("to:ann@example.com, 'bob@example.com'.", ["ann@example.com", "bob@example.com"]),
        ("ann@example.com ann@example.com", ["ann@example.com"]),
        ("rfc822=ann@example.com failed", ["ann@example.com"]),
        ("ann at example.com", []),
        ("@example.com and ann@", []),
    ],
)
def test_addresses_of_a_text_are_found_once_and_in_order(text: str, found: list[str]) -> None:
    assert addresses.find(text) == found


def test_no_more_addresses_are_found_than_asked_for() -> None:
    text = " ".join(f"a{number}@example.com" for number in range(9))
    assert addresses.find(text, limit=2) == ["a0@example.com", "a1@example.com"]


def test_a_word_of_an_address_is_no_word_of_the_text() -> None:
    assert addresses.blank("<spam@full.example>: gone") == "<@>: gone"


@pytest.mark.parametrize("unit", ["a", "a@", "a.", "@", '"', "a@b.", "<", "a@b.c"])
def test_time_is_in_proportion_to_the_text(unit: str) -> None:
    assert_linear(lambda count: addresses.find(unit * count), 20_000)
