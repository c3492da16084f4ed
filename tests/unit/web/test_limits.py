"""web.limits: what a body may be; requests of a network in a minute, in bounded memory."""

from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from gatewayd.web import limits
from gatewayd.web.limits import BodyLimit, RateLimit, network
from tests.fakes.clock import ManualClock


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 200),
        ([(b"content-length", b"9")], 200),
        ([(b"content-length", b"10")], 413),
        ([(b"content-length", b"-1")], 413),
        ([(b"content-encoding", b" Identity")], 200),
        ([(b"content-encoding", b"gzip")], 415),
        ([(b"content-encoding", b"gzip"), (b"content-encoding", b"identity")], 415),
        ([(b"content-encoding", b"identity"), (b"content-encoding", b"gzip")], 415),
        ([(b"transfer-encoding", b"Chunked ")], 200),
        ([(b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")], 400),
        ([(b"transfer-encoding", b"gzip, chunked")], 400),
    ],
)
async def test_what_a_header_says_of_the_body_is_believed_to_the_last_field(
    fields: list[tuple[bytes, bytes]], status: int
) -> None:
    """A second field of the same name takes nothing back."""
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": fields}
    await BodyLimit(PlainTextResponse("ok"), octets=9)(scope, receive, send)

    assert status == said[0]["status"]


@pytest.mark.parametrize(
    ("client", "key"),
    [
        (("192.0.2.1", 5000), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 5000), "20010db800010002"),
        (("2001:db8:1:2::", 5000), "20010db800010002"),
        (("2001:db8:1:3::", 5000), "20010db800010003"),
        (("fe80::1%eth0", 5000), "fe80000000000000"),
        (("::ffff:192.0.2.1", 5000), "192.0.2.1"),
        (("::not:an:address", 0), "::not:an:address"),
        (("unknown", 0), "unknown"),
        (("", 0), ""),
        (None, ""),
    ],
)
def test_who_counts_as_one(client: tuple[str, int] | None, key: str) -> None:
    """An IPv4 address; an IPv6 /64, in which one client has all addresses."""
    assert key == network({"client": client})
    assert key == network({"client": client, "headers": []})


def test_a_minute_begins_with_the_first_request() -> None:
    clock = ManualClock()
    rate = RateLimit(per_minute=2, clock=clock)
    clock.advance(seconds=1000.25)

    assert [rate.take("a"), rate.take("a"), rate.take("a")] == [0, 0, 60]
    clock.advance(seconds=59.5)
    assert (rate.take("a"), rate.take("b")) == (1, 0)
    clock.advance(seconds=0.5)
    assert [rate.take("a"), rate.take("a"), rate.take("a")] == [0, 0, 60]
    assert rate.take("b") == 0


def test_a_client_without_an_address_is_not_counted() -> None:
    """All of a unix socket would share it."""
    rate = RateLimit(per_minute=1, clock=ManualClock())

    assert [rate.take(""), rate.take("")] == [0, 0]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first; what has ended goes by itself."""
    monkeypatch.setattr(limits, "COUNTED", 100)
    clock = ManualClock()
    rate = RateLimit(per_minute=1, clock=clock)
    for number in range(1000):
        rate.take(str(number))
        assert len(rate._counts) <= 100
    assert (rate.take("999"), rate.take("0")) == (60, 0)
    clock.advance(seconds=60)
    rate.take("x")

    assert list(rate._counts) == ["x"]
