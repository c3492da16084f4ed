"""The HTTP API of an installed daemon under attack by octets: bodies, framing, headers, slowness.

After every attack the daemon takes a plain message and delivers it, and its log holds no error.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.peers.target import MAIL, SEND, Target, target
from tests.peers.wire import CUT, Wire, request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROBLEM = "application/problem+json"
MIB = 1_048_576
PARTIALS = 200


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("wire")) as running:
        yield running


@pytest.fixture(autouse=True)
def _goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever was done to it, the next message arrives, and nothing broke inside."""
    yield
    if "attacked" in request.fixturenames:
        request.getfixturevalue("attacked").assert_goes_on()


# Bodies.

UNPACKED = 100 * MIB


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """JSON of 100 MiB in a thousandth of that."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as packed:
        packed.write(b'{"to": "ann@rcpt.test", "text": "')
        for _ in range(UNPACKED // MIB):
            packed.write(b"a" * MIB)
        packed.write(b'"}')
    return out.getvalue()


@pytest.mark.parametrize(
    "coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip"]
)
def test_a_packed_body_is_not_unpacked(attacked: Target, bomb: bytes, coding: str) -> None:
    """A thousand times its size would come of it; nobody looks inside."""
    before = attacked.resident()
    answer = attacked.post(bomb, Content_Encoding=coding)

    assert (answer.status, answer.json["code"]) == (415, "media_type_unsupported")
    assert attacked.resident() - before < UNPACKED // 2


def padded(octets: int) -> bytes:
    """A good message of this size: JSON may have spaces behind it (RFC 8259 2)."""
    text = json.dumps(MAIL).encode()
    return text + b" " * (octets - len(text))


def test_a_body_of_a_mib_is_taken_and_no_octet_more(attacked: Target) -> None:
    """Whether its length was said before or came out in the end."""
    assert attacked.post(padded(MIB)).status == 202
    assert attacked.ask(chunked(attacked, padded(MIB))).status == 202
    answers = [attacked.post(padded(MIB + 1)), attacked.ask(chunked(attacked, padded(MIB + 1)))]
    good, token = "application/json", attacked.gateway.token
    for length in (10 * MIB, 2**63, 10**40):
        fields = {"Content-Type": good, "Content-Length": str(length)}
        answers += [attacked.ask(request("POST", SEND, token=token, fields=fields.items()))]

    assert {answer.status for answer in answers[:-1]} == {413}
    assert answers[-1].status in {400, 413}


def chunked(attacked: Target, body: bytes, size: int = 16_384) -> bytes:
    """The body in chunks (RFC 9112 7.1)."""
    fields = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    blocks = [body[at : at + size] for at in range(0, len(body), size)]
    head = request("POST", SEND, token=attacked.gateway.token, fields=fields.items())
    return head + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in blocks) + b"0\r\n\r\n"


DEEP = 100_000
BOMBS: dict[str, Callable[[], bytes]] = {
    "deep lists": lambda: b"[" * DEEP,
    "deep lists, closed": lambda: b"[" * DEEP + b"]" * DEEP,
    "deep objects": lambda: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "long number": lambda: b'{"to": ' + b"9" * 900_000 + b"}",
    "long exponent": lambda: b'{"to": 1e' + b"9" * 900_000 + b"}",
    "many names": lambda: b"{" + b",".join(b'"%d": 1' % at for at in range(60_000)) + b"}",
    "one name often": lambda: b"{" + b",".join([b'"to": "ann@rcpt.test"'] * 40_000) + b"}",
    "many recipients": lambda: json.dumps({**MAIL, "to": ["ann@rcpt.test"] * 50_000}).encode(),
    "many wrong recipients": lambda: json.dumps({**MAIL, "to": ["@"] * 150_000}).encode(),
    "commas": lambda: json.dumps({**MAIL, "to": "," * 900_000}).encode(),
    "comments": lambda: json.dumps({**MAIL, "to": "<" + "(" * 900_000}).encode(),
    "quotes": lambda: json.dumps({**MAIL, "to": '"' + "\\" * 400_000}).encode(),
    "encoded words": lambda: json.dumps({**MAIL, "to": '"=?' * 200_000}).encode(),
    "many headers": lambda: json.dumps(
        {**MAIL, "headers": {f"X-{at}": "" for at in range(50_000)}}
    ).encode(),
    "long subject": lambda: json.dumps({**MAIL, "subject": "a" * 900_000}).encode(),
    "many tags": lambda: json.dumps({**MAIL, "tags": ["a"] * 100_000}).encode(),
    "no utf-8": lambda: b'{"to": "\xff\xfe"}',
    "utf-16": lambda: '{"to": "ann@rcpt.test"}'.encode("utf-16"),
    "half a pair": lambda: b'{"to": "ann@rcpt.test", "text": "\\ud800"}',
    "nul": lambda: b'{"to": "ann@rcpt.test", "text": "\\u0000"}',
    "not a number": lambda: b'{"to": NaN}',
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_json_that_is_made_to_cost_is_refused(attacked: Target, name: str) -> None:
    """422, and the daemon answers others meanwhile."""
    octets = BOMBS[name]()
    for to in (SEND, "/api/v1/messages/batch", "/api/v1/suppressions"):
        answer = attacked.post(octets, to=to)

        assert (answer.status, answer.field("content-type")) == (422, PROBLEM)
        assert len(answer.body) < 65_536


# Framing.

AMBIGUOUS = {
    "length and chunks": "Content-Length: {size}\r\nTransfer-Encoding: chunked\r\n",
    "chunks and length": "Transfer-Encoding: chunked\r\nContent-Length: {size}\r\n",
    "chunked, identity": "Transfer-Encoding: chunked, identity\r\n",
    "xchunked": "Transfer-Encoding: xchunked\r\n",
    "vertical tab": "Transfer-Encoding: \x0bchunked\r\n",
    "space before colon": "Transfer-Encoding : chunked\r\n",
    "folded": "Transfer-Encoding:\r\n chunked\r\nContent-Length: {size}\r\n",
    "two lengths": "Content-Length: 0\r\nContent-Length: {size}\r\n",
    "list of lengths": "Content-Length: 0, {size}\r\n",
    "signed length": "Content-Length: +{size}\r\n",
    "hex length": "Content-Length: 0x10\r\n",
    "length with space": "Content-Length: 1 0\r\n",
    "no length": "Content-Length:\r\n",
    "bare LF": "X: y\nContent-Length: {size}\r\n",
    "bare CR": "X: y\rContent-Length: {size}\r\n",
    "NUL": "X: a\x00b\r\nContent-Length: {size}\r\n",
    "no colon": "X\r\nContent-Length: {size}\r\n",
}


def hidden(attacked: Target, subject: str) -> bytes:
    """A whole good request that nobody has sent."""
    body = json.dumps({**MAIL, "subject": subject}).encode()
    return request("POST", SEND, token=attacked.gateway.token, body=body)


@pytest.mark.parametrize("form", AMBIGUOUS)
def test_what_two_readers_read_differently_is_no_request(attacked: Target, form: str) -> None:
    """One refusal, then the end: nothing behind it is read (RFC 9112 6.3, 11.2)."""
    inner = hidden(attacked, form)
    lines = AMBIGUOUS[form].format(size=len(inner))
    head = f"POST {SEND} HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n".encode("latin-1")
    with Wire(attacked.gateway.ports.http) as wire:
        wire.send(head + b"0\r\n\r\n" + inner)
        answer, rest = wire.answer("POST"), wire.rest()

    assert (answer.status, rest) == (400, b"")
    assert answer.json["code"] == "request_malformed"
    attacked.assert_goes_on()
    assert not any(copy.field("subject") == form for copy in attacked.sink.copies)


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, chunked", "gzip"])
def test_no_coding_is_below_the_chunks(attacked: Target, coding: str) -> None:
    """Where the body ends is clear, and what it holds is not (RFC 9112 6.1)."""
    fields = {"Content-Type": "application/json", "Transfer-Encoding": coding}
    head = request("POST", SEND, token=attacked.gateway.token, fields=fields.items())
    body = json.dumps(MAIL).encode()
    answer = attacked.ask(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    assert (answer.status, answer.json["code"]) == (400, "request_malformed")


CHUNKS = {
    "size is no number": b"x\r\n",
    "size is signed": b"-1\r\n",
    "size has 0x": b"0x1\r\na\r\n0\r\n\r\n",
    "size has a space": b"1 0\r\na\r\n0\r\n\r\n",
    "size overflows": b"ffffffffffffffffff\r\n",
    "size ends in LF": b"1\na\r\n0\r\n\r\n",
    "extension ends in LF": b"1;a\na\r\n0\r\n\r\n",
    "data is longer": b"1\r\nab\r\n0\r\n\r\n",
    "data ends in LF": b"1\r\na\n0\r\n\r\n",
}


@pytest.mark.parametrize("form", CHUNKS)
def test_chunks_that_are_none_end_the_connection(attacked: Target, form: str) -> None:
    """Where one ends must not be a matter of taste (RFC 9112 7.1)."""
    head = chunked(attacked, b"").removesuffix(b"0\r\n\r\n")
    with Wire(attacked.gateway.ports.http) as wire:
        wire.send(head + CHUNKS[form] + hidden(attacked, form))
        answer, rest = wire.answer("POST"), wire.rest()

    assert (answer.status, rest) == (400, b"")
    attacked.assert_goes_on()
    assert not any(copy.field("subject") == form for copy in attacked.sink.copies)


NO_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    "SMTP": b"EHLO client.test\r\nMAIL FROM:<a@b.test>\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: evil.test\r\n\r\n",
    "tab": b"GET\t/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "octets": bytes(range(256)) * 4,
    "NUL": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "method": b"ge<t> / HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("form", NO_HTTP)
def test_what_is_no_http_is_refused(attacked: Target, form: str) -> None:
    """400, whatever it is."""
    answer = attacked.ask(NO_HTTP[form])

    assert (answer.status, answer.field("content-type")) == (400, PROBLEM)


LONG: dict[str, Callable[[], bytes]] = {
    "path": lambda: b"GET /" + b"a" * MIB + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "query": lambda: (
        b"GET /track/click/a?url=" + b"%41" * 300_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    ),
    "one field": lambda: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * MIB + b"\r\n\r\n",
    "one name": lambda: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a" * MIB + b": x\r\n\r\n",
    "many fields": lambda: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200_000 + b"\r\n",
    "method": lambda: b"G" * MIB + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("form", LONG)
def test_a_header_that_does_not_end_is_cut(attacked: Target, form: str) -> None:
    """431, or an end without a word for who sends on and does not read."""
    assert attacked.ask(LONG[form]()).status in {400, 431, CUT.status}


def test_a_range_is_not_looked_at(attacked: Target) -> None:
    """Ten thousand parts of one answer are the answer (RFC 9110 14.2)."""
    ranges = "bytes=" + ",".join(f"{at}-{at}" for at in range(9_000))
    for value in ("bytes=0-1", "bytes=" + "0-," * 9_000, ranges):
        answer = attacked.ask(request("GET", "/api/v1/openapi.json", fields=[("Range", value)]))

        assert (answer.status, answer.field("content-range")) == (200, "")
        assert answer.json["openapi"]


# Slowness.


def partial(attacked: Target, number: int) -> bytes:
    """The beginning of a request: of its header, of its body, or nothing at all."""
    whole = request("POST", SEND, token=attacked.gateway.token, body=json.dumps(MAIL).encode())
    body_at = whole.index(b"\r\n\r\n") + 4
    return (whole[: body_at - 10], whole[: body_at + 10], whole[:1], b"")[number % 4]


def test_requests_that_never_end_hold_nobody_up(tmp_path: Path) -> None:
    """Two hundred of them: others are served meanwhile, and each of them ends by its deadline."""
    with target(tmp_path, http="header_timeout_s = 5\nbody_timeout_s = 5\n") as slow:
        with ExitStack() as stack:
            wires = [stack.enter_context(Wire(slow.gateway.ports.http)) for _ in range(PARTIALS)]
            for number, wire in enumerate(wires):
                wire.send(partial(slow, number))
            slow.assert_goes_on()
            ends = [wire.rest() for wire in wires]
        slow.assert_goes_on()

    told = [end.partition(b"\r\n")[0].split(b" ")[1:2] for end in ends]
    assert {tuple(one) for one in told[0::4]} == {(b"408",)}
    assert {tuple(one) for one in told[1::4]} == {(b"408",)}
    assert all(one in ([b"408"], []) for one in told)
