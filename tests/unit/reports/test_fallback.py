"""flufl.bounce is asked in a way that it can neither raise, nor log, nor take long."""

from __future__ import annotations

import logging
import time

import pytest

from gatewayd.reports import fallback, parts

SIMPLE = "the following addresses had permanent fatal errors -----\n<ann@example.com>\n"


def test_what_it_finds_is_given_as_text() -> None:
    message = parts.parse(b"From: MAILER-DAEMON@mx.example\n\n")
    _, permanent = fallback.find(
        message, f"   ----- The following addresses had permanent fatal errors -----\n{SIMPLE}\n"
    )
    assert permanent == ["ann@example.com"]


@pytest.mark.parametrize("header", [b"", b"From:\n\n", b"From: \xff\xfe\nSubject: \r\x00\n\n"])
def test_a_broken_header_does_not_make_it_raise(header: bytes) -> None:
    assert fallback.find(parts.parse(header), "words") == ([], [])


def test_it_does_not_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        fallback.find(parts.parse(b""), SIMPLE)
    assert caplog.records == []


@pytest.mark.parametrize("unit", [" ", "<", "a@", "----- ", "\t\n", "<a@b.c>\n"])
def test_hostile_text_is_over_soon(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    message = parts.parse(b"From: a@b\n\n")
    started = time.perf_counter()
    fallback.find(message, text)
    taken = time.perf_counter() - started
    assert taken < 1, "milliseconds are usual; this is for a machine that is busy"
