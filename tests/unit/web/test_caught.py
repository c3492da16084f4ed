"""web.caught: the simulator's mail over HTTP."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx2
import pytest

from gatewayd.web.app import create_api_app
from tests.fakes.http_api import NOW, FakeApi

MAIL = (
    b"From: agent@example.com\r\nTo: ann@example.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n"
    b"--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
    b"--a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"SGFsbG8=\r\n"
    b"--a\r\nContent-Type: text/html; charset=nonsense\r\n\r\n<p>Hallo</p>\r\n--a--\r\n"
    b"--m\r\nContent-Type: application/pdf\r\n"
    b"Content-Disposition: attachment; filename=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"YWJj\r\n--m--\r\n"
)


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A caught mail."""

    mail_id: str
    octets: bytes = MAIL
    caught_at: dt.datetime = NOW
    reverse_path: str = "agent@example.com"
    recipients: tuple[str, ...] = ("ann@example.com",)


@dataclass
class FakeCatcher:
    """What the simulator keeps, in a list."""

    mails: list[Mail] = field(default_factory=list)

    def newest(self, limit: int, *, before: str | None = None) -> Sequence[Mail]:
        newest = sorted(self.mails, key=lambda mail: mail.mail_id, reverse=True)
        return [each for each in newest if before is None or each.mail_id < before][:limit]

    def find(self, mail_id: str) -> Mail | None:
        return next((each for each in self.mails if each.mail_id == mail_id), None)


@pytest.fixture
def catcher() -> FakeCatcher:
    """Three mails."""
    return FakeCatcher([Mail(mail_id=f"m-{number}") for number in range(3)])


@pytest.fixture
async def client(catcher: FakeCatcher) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on this machine."""
    app = create_api_app(FakeApi().parts, caught_mail=catcher)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8025"
    ) as opened:
        yield opened


async def test_the_list_has_pages(client: httpx2.AsyncClient) -> None:
    """Newest first; the cursor is that of the last mail shown."""
    first = (await client.get("/caught", params={"limit": 2})).json()
    second = (
        await client.get("/caught", params={"limit": 2, "cursor": first["next_cursor"]})
    ).json()

    assert [item["mail_id"] for item in first["items"]] == ["m-2", "m-1"]
    assert [item["mail_id"] for item in second["items"]] == ["m-0"]
    assert second["next_cursor"] is None
    assert first["items"][0]["subject"] == "Grüße"


async def test_one_mail_is_shown_as_a_reader_finds_it(client: httpx2.AsyncClient) -> None:
    """Decoded fields, both bodies, attachments; a charset nobody knows is UTF-8."""
    shown = (await client.get("/caught/m-1")).json()

    assert {"name": "Subject", "value": "Grüße"} in shown["headers"]
    assert (shown["text"], shown["html"].strip()) == ("Hallo", "<p>Hallo</p>")
    assert shown["attachments"] == [
        {"filename": "a.pdf", "content_type": "application/pdf", "size_octets": 3}
    ]


async def test_the_octets_are_downloaded(client: httpx2.AsyncClient) -> None:
    """As a file: a browser does not show what a stranger wrote."""
    answer = await client.get("/caught/m-1.eml")

    assert answer.content == MAIL
    assert (
        answer.headers["content-type"],
        answer.headers["content-disposition"],
    ) == ("message/rfc822", 'attachment; filename="m-1.eml"')


@pytest.mark.parametrize(
    "octets",
    [b"", b"\r\n", b"nonsense", b"\xff\xfe", b"Content-Type: multipart/mixed\r\n\r\nx", b"a\n" * 9],
)
async def test_anything_can_be_shown(
    catcher: FakeCatcher, client: httpx2.AsyncClient, octets: bytes
) -> None:
    """The simulator takes everything, so this shows everything."""
    catcher.mails.append(Mail(mail_id="odd", octets=octets))

    assert (await client.get("/caught/odd")).status_code == 200
    assert (await client.get("/caught")).status_code == 200


@pytest.mark.parametrize("path", ["/caught/no", "/caught/no.eml"])
async def test_what_is_not_there_is_not_found(client: httpx2.AsyncClient, path: str) -> None:
    """The oldest are forgotten."""
    assert (
        (await client.get(path)).status_code,
        (await client.get(path)).json()["code"],
    ) == (404, "not_found")


@pytest.mark.parametrize("limit", ["0", "201", "x", "²", "-1"])
async def test_the_limit_is_a_small_number(client: httpx2.AsyncClient, limit: str) -> None:
    """A page is bounded."""
    assert (await client.get("/caught", params={"limit": limit})).status_code == 422


@pytest.mark.parametrize("path", ["/caught", "/caught/m-1", "/caught/m-1.eml"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8025", "evil.example:80"])
async def test_a_name_of_another_site_is_refused(
    client: httpx2.AsyncClient, path: str, host: str
) -> None:
    """A page that has its own name point to this machine reads no mail (DNS rebinding)."""
    assert (await client.get(path, headers={"Host": host})).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8025", "[::1]:8025"])
async def test_names_of_this_machine_are_served(client: httpx2.AsyncClient, host: str) -> None:
    """By name and by address, with any port."""
    assert (await client.get("/caught", headers={"Host": host})).status_code == 200


async def test_without_a_catcher_there_is_nothing() -> None:
    """`serve` has no simulator to look into."""
    transport = httpx2.ASGITransport(app=create_api_app(FakeApi().parts))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        assert (await opened.get("/caught")).status_code == 404
