"""The HTTP API of an installed daemon under attack: who comes in, with what, and what it costs.

One daemon stands for the whole file. After every attack it takes a plain message and delivers it,
and its log holds no error. Tracking is in test_attacks_tracking.py, operators' commands are in
test_attacks_control.py.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.smtp_sink import Copy, SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.waiting import eventually
from tests.peers.wire import Answer, Wire, request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SOON_S = 60.0
SEND = "/api/v1/messages/send"
MAIL: dict[str, Any] = {"to": "ann@rcpt.test", "subject": "Hello", "text": "Hello Ann.\n"}
FIELDS = ["cc", "content-transfer-encoding", "content-type", "date", "from", "message-id"]
FIELDS += ["mime-version", "received", "subject", "to", "x-run"]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(sink: SmtpSink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(
        tmp_path_factory.mktemp("attacked"),
        smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
    ) as running:
        running.prepare()
        running.start()
        yield running
        assert running.stop() == 0


@pytest.fixture(autouse=True)
def _goes_on(gateway: Gateway, sink: SmtpSink) -> Iterator[None]:
    """Whatever was done to it, the next message arrives, and nothing broke inside."""
    yield
    assert post(gateway, {**MAIL, "subject": mark()}).status == 202
    arrived(sink, f"mark-{next(_numbers) - 1}", gateway)
    faults = [
        line
        for line in gateway.log_file.read_text(errors="replace").splitlines()
        if '"level": "error"' in line or "Traceback" in line or '"exception"' in line
    ]
    assert faults == []


def mark() -> str:
    """A subject that no other message has."""
    return f"mark-{next(_numbers)}"


def post(gateway: Gateway, body: object, path: str = SEND, **fields: str) -> Answer:
    """POST of JSON, on a connection of its own."""
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = [(name.replace("_", "-"), value) for name, value in fields.items()]
    with Wire(gateway.ports.http) as wire:
        return wire.ask(request("POST", path, token=gateway.token, body=octets, fields=named))


def get(gateway: Gateway, path: str, *, token: str | None = None) -> Answer:
    with Wire(gateway.ports.http) as wire:
        return wire.ask(request("GET", path, token=gateway.token if token is None else token))


def arrived(sink: SmtpSink, subject: str, gateway: Gateway) -> Copy:
    """The copy with this subject, once it is there."""
    found = eventually(
        lambda: [copy for copy in sink.copies if copy.field("subject") == subject],
        within_s=SOON_S,
        what=gateway.tail,
    )
    return found[0]


def names_of(octets: bytes) -> list[str]:
    """Names of the header section, read as no library of the daemon reads them: octet by octet.

    A line ends at CRLF, CR or LF, whichever a careless reader takes for its end.
    """
    header = octets.partition(b"\r\n\r\n")[0] + b"\r\n"
    names, line = [], b""
    for octet in header:
        if octet not in b"\r\n":
            line += bytes([octet])
            continue
        if line and line[0] not in b" \t":
            names.append(line.partition(b":")[0].decode("latin-1").lower())
        line = b""
    return sorted(names)


# Header injection by fields of the JSON.

ENDS = {
    "cr": "\r", "lf": "\n", "crlf": "\r\n", "nul": "\x00", "vt": "\x0b", "ff": "\x0c",
    "fs": "\x1c", "gs": "\x1d", "rs": "\x1e", "nel": "\x85", "ls": "\u2028", "ps": "\u2029",
}  # fmt: skip


def injected(place: str, text: str) -> dict[str, Any]:
    """A message with a hostile text in one place."""
    file = {"filename": "a.txt", "content": "aGVsbG8=", "content_type": "text/plain"}
    changed: dict[str, dict[str, Any]] = {
        "subject": {"subject": text},
        "name": {"to": {"address": "ann@rcpt.test", "name": text}},
        "name in text": {"to": f"{text} <ann@rcpt.test>"},
        "quoted name": {"to": f'"{text}" <ann@rcpt.test>'},
        "address": {"to": f"ann{text}@rcpt.test"},
        "domain": {"to": f"ann@rcpt.test{text}"},
        "reply-to": {"headers": {"Reply-To": text}},
        "header name": {"headers": {text: "17"}},
        "header name, behind": {"headers": {f"X-Run{text}": "17"}},
        "header value": {"headers": {"X-Run": text}},
        "references": {"headers": {"References": text}},
        "filename": {"attachments": [{**file, "filename": text}]},
        "content type": {"attachments": [{**file, "content_type": f"text/plain{text}"}]},
        "content id": {"attachments": [{**file, "content_id": text}]},
    }
    return {**MAIL, "cc": "bob@rcpt.test", "headers": {"X-Run": "17"}, **changed[place]}


PLACES = [
    "subject", "name", "name in text", "quoted name", "address", "domain", "reply-to",
    "header name", "header name, behind", "header value", "references", "filename",
    "content type", "content id",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_no_field_of_the_json_makes_a_header_field(
    gateway: Gateway, sink: SmtpSink, place: str
) -> None:
    """A line end of whatever kind is refused; none reaches a header section."""
    for end, tail in itertools.product(ENDS.values(), ("Bcc: eve@evil.test", " x", "")):
        answer = post(gateway, injected(place, f"a{end}{tail}"))

        assert (answer.status, answer.field("content-type")) == (422, "application/problem+json")
        assert answer.json["errors"]
    assert not any(b"evil.test" in copy.octets for copy in sink.copies)


def test_what_is_sent_has_the_fields_that_were_asked_for(gateway: Gateway, sink: SmtpSink) -> None:
    """The control of the test before: what looks hostile and is none arrives as one field."""
    names = ("Ann: Bcc: x", "=?utf-8?q?a=0d=0aBcc:_x?=", '"\\', "a" * 250, "\u00e9 " * 100)
    for name in names:
        subject = mark()
        body = {**injected("name", name), "subject": subject, "headers": {"X-Run": name}}
        assert post(gateway, body).status == 202
        copy = arrived(sink, subject, gateway)

        assert names_of(copy.octets) == sorted(FIELDS)
