"""delivery.smtp.transcript: short, and without addresses."""

from __future__ import annotations

import time

from gatewayd.delivery.smtp.transcript import TRANSCRIPT_OCTETS, Transcript
from gatewayd.mail.reply import Reply
from tests.fakes.delivering import redact


def test_lines_are_in_order() -> None:
    """Ours, theirs, remarks."""
    transcript = Transcript(redact)
    transcript.opening(["S: 220 hello"])
    transcript.say("MAIL FROM:<***3>")
    transcript.hear(Reply.parse([b"250 2.1.0 ok"]))
    transcript.remark("no reply in time")

    expected = "S: 220 hello\nC: MAIL FROM:<***3>\nS: 250 2.1.0 ok\n(no reply in time)"
    assert str(transcript) == expected


def test_addresses_in_the_words_of_a_peer_are_redacted() -> None:
    """Wherever they stand."""
    transcript = Transcript(redact)
    transcript.hear(Reply.parse([b"550 5.1.1 <bob@example.net>: no bob@example.net here"]))

    assert str(transcript) == "S: 550 5.1.1 <***15>: no ***15 here"


def test_null_reverse_path_is_no_address() -> None:
    """There is nothing to redact in it."""
    assert Transcript(redact).address("") == ""


def test_long_transcript_keeps_beginning_and_end() -> None:
    """At most 4 KiB, cut between lines."""
    transcript = Transcript(redact)
    for number in range(1000):
        transcript.say(f"line {number} größer")
    text = str(transcript)
    lines = text.split("\n")

    assert len(text.encode()) <= TRANSCRIPT_OCTETS
    assert (lines[0], lines[-1]) == ("C: line 0 größer", "C: line 999 größer")
    assert all(line.endswith(" größer") or line == "(...)" for line in lines)


def test_search_for_addresses_takes_linear_time() -> None:
    """A peer's text is bounded, and so is each part of what is taken for an address."""
    transcript = Transcript(redact)
    before = time.perf_counter()
    transcript.opening(["x" * 20_000 + "@", "@" * 20_000, "a@" * 10_000])
    seconds = time.perf_counter() - before

    assert seconds < 1
