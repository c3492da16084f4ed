"""The HTTP API of an installed daemon under attack: who comes in, with what, and what it costs.

One daemon stands for the whole file. After every attack it takes a plain message and delivers it,
and its log holds no error. Tracking is in test_attacks_tracking.py, operators' commands are in
test_attacks_control.py.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from gatewayd.clock import SystemClock
from tests.peers.forger import Forger, invalid, make_forger
from tests.peers.target import MAIL, SEND, Target, target
from tests.peers.wire import CUT, Answer, Wire, request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROBLEM = "application/problem+json"
FIELDS = ["cc", "content-transfer-encoding", "content-type", "date", "from", "message-id"]
FIELDS += ["mime-version", "received", "subject", "to", "x-run"]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("attacked")) as running:
        yield running


@pytest.fixture(autouse=True)
def _goes_on(attacked: Target) -> Iterator[None]:
    """Whatever was done to it, the next message arrives, and nothing broke inside."""
    yield
    attacked.assert_goes_on()


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
def test_no_field_of_the_json_makes_a_header_field(attacked: Target, place: str) -> None:
    """A line end of whatever kind is refused; none reaches a header section."""
    for end, tail in itertools.product(ENDS.values(), ("Bcc: eve@evil.test", " x", "")):
        answer = attacked.post(injected(place, f"a{end}{tail}"))

        assert (answer.status, answer.field("content-type")) == (422, PROBLEM)
        assert answer.json["errors"]
    assert not any(b"evil.test" in copy.octets for copy in attacked.sink.copies)


def test_what_is_sent_has_the_fields_that_were_asked_for(attacked: Target) -> None:
    """The control of the test before: what looks hostile and is none arrives as one field."""
    names = ("Ann: Bcc: x", "=?utf-8?q?a=0d=0aBcc:_x?=", '"\\', "a" * 250, "\u00e9 " * 100)
    for name in names:
        subject = attacked.mark()
        body = {**injected("name", name), "subject": subject, "headers": {"X-Run": name}}
        assert attacked.post(body).status == 202

        assert names_of(attacked.copy(subject).octets) == sorted(FIELDS)


# Tokens.


@pytest.fixture(scope="module")
def forger(attacked: Target) -> Forger:
    return make_forger(attacked.gateway)


READS = ("/api/v1/messages", "/api/v1/events", "/api/v1/suppressions")


def test_a_token_that_is_none_opens_nothing(attacked: Target, forger: Forger) -> None:
    """Every way has one of two answers: nobody learns which part of a guess was right."""
    opened, told = [], set()
    for (name, token), path in itertools.product(invalid(forger).items(), READS):
        answer = attacked.get(path, token=token)
        if name == "one MiB":
            assert answer.status in {431, CUT.status}  # more than the header of a request may have
            continue
        opened += [] if answer.status == 401 else [name]
        told.add(json.dumps({**answer.json, "request_id": "", "instance": ""}))

    assert opened == []
    assert {json.loads(each)["detail"] for each in told} == {
        "This is not a token.",  # too long, or characters that no token has
        "the token is not valid here; ask your operator for one",
    }


def test_a_token_names_no_address_that_anybody_asks(attacked: Target, forger: Forger) -> None:
    """jku, x5u and kid are not followed."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/keys"
        for header in ({"jku": url}, {"x5u": url}, {"kid": url}, {"iss": url}, {"jwk": {"k": url}}):
            assert attacked.get(READS[0], token=forger.with_header(**header)).status == 401
        attacked.assert_goes_on()

        with pytest.raises(BlockingIOError):
            listening.accept()


def test_a_token_that_has_expired_opens_nothing(attacked: Target, forger: Forger) -> None:
    """Only who holds one that was good once is told so."""
    past = int(SystemClock().now().timestamp()) - 3600
    for path in READS:
        answer = attacked.get(path, token=forger.with_claims(exp=past))

        assert (answer.status, answer.json["code"]) == (401, "token_expired")


def test_a_token_opens_what_its_scopes_say(attacked: Target) -> None:
    """And nothing beside it; an unknown path is no way round."""
    reader, sender = attacked.issued["reader"].token, attacked.issued["sender"].token
    listed = {"address": "ann@rcpt.test", "reason": "manual"}

    assert attacked.get(READS[0], token=reader).status == 200
    assert attacked.post(MAIL, token=sender).status == 202
    for answer in (
        attacked.post(MAIL, token=reader),
        attacked.post({"messages": [MAIL]}, to="/api/v1/messages/batch", token=reader),
        attacked.post(listed, to="/api/v1/suppressions", token=sender),
        *(attacked.get(path, token=sender) for path in READS),
        *(attacked.get(path, token=reader) for path in READS[1:]),
    ):
        assert (answer.status, answer.json["code"]) == (403, "scope_missing")


def test_what_is_anothers_is_as_if_it_were_not(attacked: Target) -> None:
    """A message of another mailbox and one that never was are the same 404."""
    mine = attacked.post(MAIL).json["queue_id"]
    nobodys = "01936f1e-0000-7000-8000-000000000001"
    other = attacked.issued["other"].token
    for rest in ("", "/explain", "/events", "/attempts"):
        answers = [
            attacked.get(f"/api/v1/messages/{each}{rest}", token=other) for each in (mine, nobodys)
        ]

        assert [each.status for each in answers] == [404, 404]
        assert answers[0].json["detail"] == answers[1].json["detail"]
    for path in READS:
        assert mine not in attacked.get(path, token=other).body.decode()


def test_a_revoked_token_ends_on_an_open_connection(attacked: Target) -> None:
    """The request after the command's answer is refused, on the connection that was let in."""
    issued = attacked.issued["revoked"]
    asked = request("GET", READS[0], token=issued.token)
    with Wire(attacked.gateway.ports.http) as wire:
        assert wire.ask(asked).status == 200
        assert attacked.operate("DELETE", f"/tokens/{issued.row.token_id}").status == 200
        answer = wire.ask(asked)

    assert (answer.status, answer.json["code"]) == (401, "token_revoked")


# Ids, cursors and filters.

PATHS = (
    "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/", "....//....//etc/passwd",
    "%00", "a%00.json", "/etc/passwd", "%2fetc%2fpasswd", "..\\..\\windows", "%c0%ae%c0%ae/",
    "file:///etc/passwd", "C:%5c", "%252e%252e%252f", "." * 300, "a" * 300, "%ff%fe", "~root",
)  # fmt: skip
SQL = (
    "'", '"', "' OR '1'='1", "' OR 1=1--", '" OR ""="', "'; DROP TABLE messages;--", "1; SELECT 1",
    "' UNION SELECT token FROM tokens--", "1/**/OR/**/1=1", "%' OR '1'='1", "_%", "\\'", "$$",
    "') OR ('1'='1", "1 AND sleep(5)", "pg_sleep(5)--", "||(SELECT 1)||", "0x27", "\u02bc OR 1=1",
    "admin'--", "{}", "[]", "{{7*7}}", "${7*7}", "%s%s%n", "-1", "NaN", "1e400", "\u202e",
)  # fmt: skip
BY_ID = (
    "/api/v1/messages/{}", "/api/v1/messages/{}/events", "/api/v1/messages/{}/attempts",
    "/api/v1/messages/{}/explain", "/api/v1/suppressions/{}", "/api/v1/{}", "/{}",
    "/track/open/{}", "/unsubscribe/{}",
)  # fmt: skip
BY_FILTER = (
    "/api/v1/messages?cursor={}", "/api/v1/messages?limit={}", "/api/v1/messages?state={}",
    "/api/v1/messages?since={}", "/api/v1/messages?until={}", "/api/v1/messages?sort={}",
    "/api/v1/messages?order={}", "/api/v1/messages?{}=1", "/api/v1/events?cursor={}",
    "/api/v1/events?type={}", "/api/v1/events?queue_id={}", "/api/v1/events?since={}",
    "/api/v1/suppressions?cursor={}", "/api/v1/suppressions?live={}",
    "/api/v1/suppressions?sort={}", "/api/v1/suppressions/test?address={}",
)  # fmt: skip
BY_TEXT = (
    "/api/v1/messages?recipient={}", "/api/v1/messages?tag={}", "/api/v1/suppressions?reason={}",
    "/api/v1/suppressions?source={}",
)  # fmt: skip


@pytest.mark.parametrize("place", BY_ID)
def test_an_id_is_an_id_and_no_path(attacked: Target, place: str) -> None:
    """Neither a file nor a statement comes of it."""
    for text in (*PATHS, *map(quote, SQL), *map(quote_plus, SQL)):
        answer = attacked.get(place.format(text))

        assert answer.status in {404, 422, 429}, text
        assert answer.field("x-content-type-options") == "nosniff"
        assert b"root:" not in answer.body


@pytest.mark.parametrize("place", BY_FILTER)
def test_a_filter_is_one_of_ours(attacked: Target, place: str) -> None:
    """What is no cursor, state, instant, number or name of a parameter is named so."""
    for text in (*PATHS, *map(quote_plus, SQL)):
        answer = attacked.get(place.format(text))

        assert (answer.status, answer.field("content-type")) == (422, PROBLEM), text


@pytest.mark.parametrize("place", BY_TEXT)
def test_a_text_to_look_for_is_text(attacked: Target, place: str) -> None:
    """It is compared, and nothing has it; the tables are all there afterwards."""
    for text in (*PATHS, *map(quote_plus, SQL)):
        answer = attacked.get(place.format(text))

        assert answer.status in {200, 422}, text
        assert answer.status == 422 or answer.json["items"] == []


def test_texts_that_are_stored_are_stored_as_they_are(attacked: Target) -> None:
    """Every text of a message, and a suppression's reason."""
    for text in SQL:
        body = {**MAIL, "subject": text, "headers": {"X-Run": text}, "metadata": {"run": text}}
        sent = attacked.post(body)
        shown = attacked.get(f"/api/v1/messages/{sent.json['queue_id']}")

        assert (sent.status, shown.json["subject"]) == (202, text)
        assert shown.json["metadata"] == {"run": text}


# Races.


def at_once(works: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """Each in a thread of its own, all let go at the same moment."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], Answer]) -> Answer:
        barrier.wait(60)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def test_one_key_is_one_message(attacked: Target) -> None:
    """However many ask at the same moment; with another body it is refused."""
    for race in range(3):
        subject = attacked.mark()
        body, key = {**MAIL, "subject": subject}, f"race-{race}"
        same = [partial(attacked.post, body, Idempotency_Key=key)] * 40
        other = [partial(attacked.post, {**body, "text": "x"}, Idempotency_Key=key)] * 10
        answers = at_once([*same, *other])
        by_status = Counter(answer.status for answer in answers)
        ids = {answer.json["queue_id"] for answer in answers if answer.status == 202}
        attacked.copy(subject)
        attacked.assert_goes_on()

        assert len(ids) == 1
        assert set(by_status) == {202, 422}
        assert by_status[202] in {40, 10}  # whichever of the two bodies came first
        assert [c.field("subject") for c in attacked.sink.copies].count(subject) == 1


def test_a_quota_is_never_overdrawn(attacked: Target) -> None:
    """Of fifty messages to three recipients a quota of ten takes three: all or nothing."""
    before = Counter(copy.field("subject") for copy in attacked.sink.copies)
    subject, token = attacked.mark(), attacked.issued["limited"].token
    three = [f"{name}@rcpt.test" for name in ("ann", "bob", "cat")]
    body = {**MAIL, "to": three, "subject": subject}
    day = SystemClock().now().date()  # the quota of a day and of an hour, which end together
    answers = at_once([partial(attacked.post, body, token=token)] * 50)
    accepted = [answer for answer in answers if answer.status == 202]
    refused = [answer for answer in answers if answer.status != 202]
    attacked.copy(subject)
    attacked.assert_goes_on()

    assert before[subject] == 0
    assert len(accepted) == 3 or day != SystemClock().now().date()
    assert {(answer.status, answer.json["code"]) for answer in refused} == {(429, "quota_exceeded")}
    assert all(int(answer.field("retry-after")) > 0 for answer in refused)
    recipients = sum(
        len(copy.forward_paths) for copy in attacked.sink.copies if copy.field("subject") == subject
    )
    assert recipients <= 3 * len(accepted)


# The log.

FORGED = (
    'x"}\n{"level": "error", "event": "root_login", "exception": "forged"}\n',
    "x\r\nTraceback (most recent call last):\r\n",
    "\x1b]0;pwn\x07\x1b[2J", "\x9b31m", "\u2028{}", "\x00\x08\x7f", "%0d%0aforged", "a" * 8000,
)  # fmt: skip


def test_no_line_of_the_log_is_a_clients(attacked: Target) -> None:
    """What is logged of a request stays inside one line of JSON, without control characters.

    The fixture behind it takes every line that is not ours, and every error, for a failure.
    """
    for text in FORGED:
        octets = text.encode()
        raw = octets.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
        for field in (b"X-Request-Id", b"User-Agent", b"Authorization", b"Idempotency-Key"):
            head = f"POST {SEND} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n".encode()
            attacked.ask(head + field + b": " + raw + b"\r\n\r\n{}")
        for path in (f"/{quote(text)}", f"/api/v1/messages/{quote(text)}", f"/?{quote(text)}"):
            attacked.ask(request("GET", path))
        for body in ({**MAIL, "to": text}, {**MAIL, text: text}, {**MAIL, "subject": text}):
            attacked.post(body)
        attacked.post(MAIL, Idempotency_Key=quote(text))
    octets = attacked.gateway.log_file.read_bytes()

    assert b"http_request_refused" in octets
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]", octets)


# Who is asking.


def test_what_a_client_says_of_itself_changes_nothing(attacked: Target) -> None:
    """Host and the fields of proxies are not believed: 127.0.0.1 is no trusted proxy here."""
    subject = attacked.mark()
    fields = {
        "Host": "evil.test", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.test",
        "X-Forwarded-Proto": "https", "Forwarded": "for=203.0.113.9;host=evil.test",
        "X-Real-IP": "203.0.113.9", "X-Original-URL": "/admin", "X-Rewrite-URL": "/admin",
        "X-HTTP-Method-Override": "DELETE",
    }  # fmt: skip
    body = json.dumps({**MAIL, "subject": subject}).encode()
    sent = request("POST", SEND, token=attacked.gateway.token, body=body, fields=fields.items())

    assert attacked.ask(sent).status == 202
    octets = attacked.copy(subject).octets
    assert b"evil.test" not in octets
    assert b"203.0.113.9" not in octets
    assert b"[127.0.0.1]" in octets
