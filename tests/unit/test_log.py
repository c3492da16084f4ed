"""log: what reaches standard error is clean, whoever wrote it, and writing never blocks."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gatewayd import log
from tests.peers.waiting import eventually

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLW9mLWl0"
Write = Callable[[], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log section, with all that can be written."""

    level: str = "debug"
    format: str = "json"
    addresses: str = "redacted"


class Written:
    """A stream, and what was written to it once the log is closed."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.logging: log.Logging | None = None

    def start(self, settings: LogSettings | None = None) -> None:
        chosen = settings or LogSettings()
        self.logging = log.setup(chosen, stream=self.stream, hash_key=b"k" * 16)

    def text(self) -> str:
        assert self.logging is not None
        self.logging.close()
        return self.stream.getvalue()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


def fail(message: str) -> None:
    raise ValueError(message)


@pytest.fixture
def written() -> Iterator[Written]:
    handlers, level = logging.root.handlers[:], logging.root.level
    kept = log._redactor
    written = Written()
    yield written
    if written.logging is not None:
        written.logging.close()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("gatewayd").setLevel(logging.NOTSET)
    structlog.reset_defaults()
    log._redactor = kept


def test_event_is_one_json_object_a_line(written: Written) -> None:
    """Time, level, event and logger come first, then the fields."""
    written.start()
    log.get_logger("gatewayd.queue").info("message_accepted", queue_id="q1", recipients=3)

    (event,) = written.events()

    assert list(event)[:4] == ["timestamp", "level", "event", "logger"]
    assert event["timestamp"].endswith("Z")
    assert {**event, "timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "message_accepted",
        "logger": "gatewayd.queue",
        "queue_id": "q1",
        "recipients": 3,
    }


def test_context_is_in_every_event_of_the_block(written: Written) -> None:
    """And in none after it."""
    written.start()
    logger = log.get_logger("gatewayd.x")
    with log.context(queue_id="q1"):
        logger.info("inside")
    logger.info("outside")

    assert [event.get("queue_id") for event in written.events()] == ["q1", None]


def test_bound_fields_come_first(written: Written) -> None:
    """`bind` gives a logger of its own; the one it came from has no more fields than before."""
    written.start()
    logger = log.get_logger("gatewayd.x")
    logger.bind(queue_id="q1").bind(code=5).info("bound", reason="r")
    logger.info("free")

    bound, free = written.events()

    assert list(bound)[4:] == ["queue_id", "code", "reason"]
    assert list(free)[4:] == []


def test_fields_cannot_stand_for_the_first_ones(written: Written) -> None:
    """Who logs a field `level` or `logger` changes neither."""
    written.start()
    log.get_logger("gatewayd.x").info("said", level="error", logger="other", timestamp="never")

    (event,) = written.events()

    assert (event["level"], event["logger"]) == ("info", "gatewayd.x")
    assert event["timestamp"].endswith("Z")


def test_structlog_and_our_loggers_write_the_same(written: Written) -> None:
    """Whoever takes a logger from structlog itself is cleaned and written, too."""
    written.start()
    for logger in (log.get_logger("gatewayd.x"), structlog.get_logger("gatewayd.x")):
        try:
            fail("alice@example.com")
        except ValueError:
            logger.exception("failed", token="hunter2", queue_id="q1")

    ours, theirs = written.events()

    assert {**ours, "timestamp": ""} == {**theirs, "timestamp": ""}


def test_captured_events_are_not_written(written: Written) -> None:
    """`structlog.testing.capture_logs` takes what our loggers say, and gives it back."""
    written.start()
    logger = log.get_logger("gatewayd.x")
    with capture_logs() as captured:
        logger.info("captured", queue_id="q1")
    logger.info("written")

    assert captured == [{"event": "captured", "queue_id": "q1", "log_level": "info"}]
    assert [event["event"] for event in written.events()] == ["written"]


PIECES = st.sampled_from(
    (
        *(JWT, "eyJ", "BEARER x", "bearer\t", "-----BEGIN PRIVATE KEY-----x", "aHVu" * 29),
        *("a@b", "@", "alice@example.com", "\u00a0", "\u200e", "\u3000", "\x7f", "\n", " "),
    )
)


@given(st.lists(PIECES | st.text(max_size=8), max_size=8).map("".join))
def test_no_pattern_is_left_out(text: str) -> None:
    """What is not looked for is not there: the patterns, all applied, find no more."""
    found = log._Redactor(plain=False, key=b"k").text(text)
    cut = text if len(text) <= log.LONGEST_TEXT else text[: log.LONGEST_TEXT] + "..."
    hidden = log._SECRET_TEXT.sub(log.SECRET, cut)
    redactor = log._Redactor(plain=False, key=b"k")
    hidden = log._ADDRESS.sub(lambda match: redactor.address(match[0]), hidden)

    assert log._UNSAFE.sub(log._escape, hidden) == found


def test_level_holds_for_our_events(written: Written) -> None:
    """Below the level nothing is rendered or written."""
    written.start(LogSettings(level="warning"))
    logger = log.get_logger("gatewayd.x")
    logger.info("quiet")
    logger.warning("loud")

    assert [event["event"] for event in written.events()] == ["loud"]


def test_debug_of_libraries_is_never_written(written: Written) -> None:
    """They talk about data on their lower levels, whatever level was asked of us."""
    written.start(LogSettings(level="debug"))
    logging.getLogger("some.library").info("data: %s", "alice")
    logging.getLogger("some.library").warning("trouble: %s", "x")

    assert [event["event"] for event in written.events()] == ["trouble: x"]


@pytest.mark.parametrize(
    "key",
    ["password", "token", "authorization", "secret", "client_secret", "Cookie", "api_key", "jwt"],
)
def test_value_of_a_secret_key_is_hidden(written: Written, key: str) -> None:
    """By its name, at any depth."""
    written.start()
    fields: dict[str, Any] = {key: "hunter2", "inner": [{key: b"hunter2"}]}
    log.get_logger("gatewayd.x").info("said", **fields)

    text = written.text()

    assert "hunter2" not in text
    assert text.count("[secret]") == 2


@pytest.mark.parametrize("key", ["token_id", "tokens", "secretary"])
def test_value_of_another_key_stays(written: Written, key: str) -> None:
    """The id of a token is what an operator looks for."""
    written.start()
    log.get_logger("gatewayd.x").info("said", **{key: "value"})

    assert written.events()[0][key] == "value"


@pytest.mark.parametrize(
    "value",
    [
        JWT,
        f"Authorization: Bearer {JWT}",
        "bearer opaque-hunter2",
        {"headers": [f"x={JWT}"]},
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        "AUTH PLAIN " + "aHVudGVyMg" * 20,
        ValueError(f"cannot read {JWT}"),
    ],
    ids=str,
)
def test_secret_in_a_text_is_hidden(written: Written, value: object) -> None:
    """A token that came by another name is no less a token."""
    written.start()
    log.get_logger("gatewayd.x").info("said", value=value)

    text = written.text()

    assert "[secret]" in text
    for part in ("eyJ", "hunter2", "aHVudGVyMg", "c2lnbmF0"):
        assert part not in text


def test_exception_is_cleaned_and_indented(written: Written) -> None:
    """A foreign message in a traceback hides its secrets, and begins no line of its own."""
    written.start(LogSettings(format="console"))
    try:
        fail(f"{JWT}\nERROR forged alice@example.com\x1b[31m")
    except ValueError:
        log.get_logger("gatewayd.x").exception("failed")

    text = written.text()

    assert "ValueError: [secret]" in text
    assert "\n  ERROR forged a***@example.com" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("character", ["\r", "\n", "\x1b", "\x00", "\x85", "\u2028", "\u202e"])
def test_control_character_cannot_forge_a_line(written: Written, form: str, character: str) -> None:
    """CR, LF, ESC and their kin are written as text, in values, keys and foreign messages."""
    written.start(LogSettings(format=form))
    log.get_logger("gatewayd.x").info("said", helo=f"a{character}ERROR root login")
    log.get_logger("gatewayd.x").info("said", **{f"k{character}": 1})
    logging.getLogger("lib").warning("x%sy", character)

    text = written.text()

    assert len(text.splitlines()) == 3
    assert character not in text.replace("\n", "" if character == "\n" else "\n")[:-1]


def test_address_is_redacted_and_recognisable(written: Written) -> None:
    """First letter, domain, and a keyed hash that is the same for the same address."""
    written.start()
    one, same, other = map(
        log.address, ["alice@example.com", "ALICE@Example.com", "anna@example.com"]
    )

    assert one.startswith("a***@example.com#")
    assert one.lower() == same.lower()
    assert one != other
    assert one == log.address(one)


@pytest.mark.parametrize(
    "text",
    [
        "<alice@example.com> failed",
        'to "alice b"@example.com',
        "ålice@exämple.com",
        "alice@[1.2.3.4]",
    ],
)
def test_address_in_a_text_is_redacted_too(written: Written, text: str) -> None:
    """What a peer or a library wrote holds no local part."""
    written.start()
    log.get_logger("gatewayd.x").info("said", reply=text)

    reply = written.events()[0]["reply"]

    assert "***@" in reply
    assert "lice" not in reply


def test_addresses_are_plain_when_the_operator_says_so(written: Written) -> None:
    """`log.addresses = "plain"`."""
    written.start(LogSettings(addresses="plain"))
    log.get_logger("gatewayd.x").info("said", to=log.address("alice@example.com"))

    assert written.events()[0]["to"] == "alice@example.com"


@pytest.mark.parametrize("text", ["", "postmaster", "@", "a@", "@b", "***@x"])
def test_address_of_any_text_is_a_text(text: str) -> None:
    """It is called with what a client sent, before that was checked."""
    assert isinstance(log.address(text), str)


def test_octets_are_never_written(written: Written) -> None:
    """They may be mail."""
    written.start()
    log.get_logger("gatewayd.x").info("said", line=b"Subject: hunter2", block=bytearray(10))

    (event,) = written.events()

    assert (event["line"], event["block"]) == ("[16 octets]", "[10 octets]")


def test_long_and_deep_values_are_cut(written: Written) -> None:
    """One event is bounded, whatever a peer sends; and JSON stays JSON."""
    deep: list[Any] = []
    for _ in range(50):
        deep = [deep]
    written.start()
    log.get_logger("gatewayd.x").info(
        "said", long="x y " * 10_000, deep=deep, nan=float("nan"), odd={1: object()}
    )

    (event,) = written.events()

    assert len(event["long"]) == log.LONGEST_TEXT + 3
    assert event["nan"] == "nan"


def test_aiosmtpd_never_shows_data(written: Written) -> None:
    """Its warnings are kept as a place in its code, its INFO not at all."""
    written.start()
    logger = logging.getLogger("mail.log")
    logger.info("%r >> %r", "peer", b"AUTH PLAIN hunter2")
    try:
        fail("hunter2")
    except ValueError:
        logger.exception("%r SMTP session exception", "hunter2")

    (event,) = written.events()

    assert event["event"].startswith("aiosmtpd_warned in ")
    assert event["event"].endswith("ValueError")
    assert "hunter2" not in str(event)


class Stuck(io.StringIO):
    """A terminal nobody reads: the first write waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.released = threading.Event(), threading.Event()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        self.reached.set()
        assert self.released.wait(10)
        return super().write(text)


def test_stuck_stream_drops_events_and_counts_them(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller never waits; what does not fit into the queue is counted, and told once."""
    monkeypatch.setattr(log, "QUEUE_EVENTS", 5)
    stream, drops = Stuck(), []
    written.logging = log.setup(LogSettings(), stream=stream, on_drop=lambda: drops.append(1))
    logger = log.get_logger("gatewayd.x")
    logger.info("first")
    assert stream.reached.wait(10)
    for number in range(20):
        logger.info("next", number=number)
    stream.released.set()
    written.logging.close()

    assert len(drops) == written.logging.dropped == 15
    assert len(stream.getvalue().splitlines()) == 6


def test_what_waits_is_written_together(written: Written) -> None:
    """One write for all lines that came while standard error was stuck."""
    stream = Stuck()
    written.logging = log.setup(LogSettings(), stream=stream)
    logger = log.get_logger("gatewayd.x")
    logger.info("first")
    assert stream.reached.wait(10)
    for number in range(20):
        logger.info("next", number=number)
    stream.released.set()
    written.logging.close()

    assert stream.writes == 2
    assert len(stream.getvalue().splitlines()) == 21


@pytest.mark.parametrize("name", ["gatewayd.x", "library"])
def test_an_error_is_written_without_a_pause(
    written: Written, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Under load lines wait for more of them; what follows an error may be the end."""
    monkeypatch.setattr(log, "_PAUSE_S", 600.0)
    stream = Stuck()
    written.logging = log.setup(LogSettings(), stream=stream)
    logger = log.get_logger("gatewayd.x")
    logger.info("first")
    assert stream.reached.wait(10)
    for number in range(2 * log._AT_ONCE):
        logger.info("next", number=number)
    stream.released.set()
    if name == "library":
        logging.getLogger(name).error("last")
    else:
        logger.error("last")

    eventually(lambda: '"last"' in stream.getvalue(), within_s=60)
    assert len(stream.getvalue().splitlines()) == 2 * log._AT_ONCE + 2


class Unshowable:
    """A value that cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("no")


def test_event_that_cannot_be_shown_is_dropped_alone(written: Written) -> None:
    """Those around it are written, and it is counted."""
    written.start()
    logger = log.get_logger("gatewayd.x")
    logger.info("before")
    logger.info("bad", value=Unshowable())
    logger.info("after")

    assert [event["event"] for event in written.events()] == ["before", "after"]
    assert written.logging is not None
    assert written.logging.dropped == 1


class Ascii(Stuck):
    """A terminal that has ASCII only."""

    def write(self, text: str) -> int:
        text.encode("ascii")
        return super().write(text)


def test_line_that_a_stream_cannot_encode_is_dropped_alone(written: Written) -> None:
    """Though it was to be written with others."""
    stream = Ascii()
    written.logging = log.setup(LogSettings(), stream=stream)
    logger = log.get_logger("gatewayd.x")
    for word in ("first", "good", "b\u00e4d", "last"):
        logger.info(word)
    stream.released.set()
    written.logging.close()

    lines = stream.getvalue().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["first", "good", "last"]
    assert written.logging.dropped == 1


def test_closed_stream_raises_nothing(written: Written) -> None:
    """`gatewayd serve | head -1` goes on."""
    stream = io.StringIO()
    written.logging = log.setup(LogSettings(), stream=stream)
    stream.close()
    log.get_logger("gatewayd.x").info("said")
    written.logging.close()

    assert written.logging.dropped == 1


def test_second_setup_takes_over(written: Written) -> None:
    """SIGHUP changes level and format; each event is written once."""
    written.start(LogSettings(level="error"))
    first = written.logging
    written.start(LogSettings(level="info"))
    log.get_logger("gatewayd.x").info("said")

    assert [event["event"] for event in written.events()] == ["said"]
    assert first is not None
    first.close()


def test_set_address_hash_survives_a_second_setup(written: Written) -> None:
    """A reload does not break the thread through the log."""
    written.start()
    before = log.address("alice@example.com")
    written.logging = log.setup(LogSettings(), stream=io.StringIO())

    assert before == log.address("alice@example.com")
