"""URLs of recipients under attack: forged, replayed, guessed, and led astray.

One daemon stands for the whole file. That a forged URL asks the database nothing is counted in
tests/store/test_tracking.py; here it leaves no event, and no redirect.
"""

from __future__ import annotations

import email
import email.policy
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import html5lib
import pytest

from tests.peers.target import MAIL, Target, target
from tests.peers.waiting import eventually
from tests.peers.wire import Answer, request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SOON_S = 60.0
OFFER = "https://shop.test/offer?id=7&from=mail"
OTHER_OFFER = "https://shop.test/other"
HTML = f'<p><a href="{OFFER}">offer</a> <a href="{OTHER_OFFER}">other</a></p>'
PER_SOURCE = 100  # requests of one address; the daemon takes 120 in a minute
CURL = [("User-Agent", "curl/8.11.0")]  # a machine, whenever it comes


@dataclass(slots=True)
class Links:
    """The URLs of one recipient, as paths with their queries."""

    queue_id: str
    octets: bytes
    open: str
    click: str
    other: str
    leave: str

    @property
    def path(self) -> str:
        return self.click.partition("?")[0]

    @property
    def url(self) -> str:
        """As it stands in the query."""
        return self.click.partition("?url=")[2].partition("&sig=")[0]

    @property
    def sig(self) -> str:
        return self.click.partition("&sig=")[2]


@dataclass(slots=True)
class Visited:
    """The daemon, and recipients' programs that come from ever other addresses."""

    target: Target
    _visits: Iterator[int] = field(default_factory=itertools.count)

    def ask(self, path: str | bytes, *, method: str = "GET", **given: Any) -> Answer:  # noqa: ANN401 - of request
        """One request, from an address that has not yet come too often."""
        number = next(self._visits) // PER_SOURCE
        source = f"127.1.{number // 250}.{number % 250 + 1}"
        given.setdefault("fields", CURL)
        return self.target.ask(request(method, path, **given), source=source, method=method)

    def leave(self, path: str, pair: bytes = b"List-Unsubscribe=One-Click") -> Answer:
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        return self.ask(path, method="POST", body=pair, fields=form)

    def send(self) -> Links:
        """A message with links, and what its recipient, a new one, got."""
        subject = self.target.mark()
        to = f"reader-{subject[:-1]}@rcpt.test"
        sent = self.target.post({**MAIL, "to": to, "subject": subject, "html": HTML})
        assert sent.status == 202
        octets = self.target.copy(subject).octets
        message = email.message_from_bytes(octets, policy=email.policy.default)
        body = message.get_body(("html",))
        assert body is not None
        urls = re.findall(r'(?:href|src)="([^"]+)"', body.get_content())
        places = [urlsplit(url.replace("&amp;", "&")) for url in urls]
        click, other, pixel = (f"{each.path}?{each.query}".rstrip("?") for each in places)
        leave = urlsplit(str(message["List-Unsubscribe"]).strip("<> ")).path
        return Links(sent.json["queue_id"], octets, pixel, click, other, leave)

    def events(self, links: Links) -> list[dict[str, Any]]:
        """What is known of a message, once what waited in memory is stored."""
        answer = self.target.get(f"/api/v1/messages/{links.queue_id}/events")
        assert answer.status == 200
        return list(answer.json["items"])

    def types(self, links: Links) -> list[str]:
        return [event["type"].removeprefix("recipient.") for event in self.events(links)]

    def assert_untouched(self, links: Links) -> None:
        """Nothing that was asked before this left a trace: a click after it is all there is."""
        assert self.ask(links.click).status == 302
        eventually(lambda: "clicked" in self.types(links), within_s=SOON_S)

        assert [one for one in self.types(links) if one in SEEN] == ["clicked"]


SEEN = {"opened", "clicked", "unsubscribed"}


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    quick = "[tracking]\nflush_s = 0.1\n"
    with target(tmp_path_factory.mktemp("visited"), is_public=True, extra=quick) as running:
        yield Visited(running)


@pytest.fixture(autouse=True)
def _goes_on(visited: Visited) -> Iterator[None]:
    """Whatever was done to it, the next message arrives, and nothing broke inside."""
    yield
    visited.target.assert_goes_on()


def assert_refused(answer: Answer) -> None:
    """Nothing is there, and it leads nowhere. What is no HTTP any more is 400."""
    assert answer.status in {400, 404}
    assert answer.field("location") == ""
    assert b"evil.test" not in answer.body


# What the links are.


def test_the_control(visited: Visited) -> None:
    """Unchanged they do what they are for."""
    links = visited.send()
    click, pixel, page = (visited.ask(each) for each in (links.click, links.open, links.leave))

    assert (click.status, click.field("location")) == (302, OFFER)
    assert visited.ask(links.other).field("location") == OTHER_OFFER
    assert (pixel.status, pixel.field("content-type")) == (200, "image/gif")
    assert (page.status, page.field("content-type")) == (200, "text/html; charset=utf-8")


def test_a_link_tells_neither_address_nor_id(visited: Visited) -> None:
    """Nor when it was made, nor in which order: tokens of one message after the other differ."""
    sent = [visited.send() for _ in range(12)]
    tokens = [links.leave.rpartition("/")[2] for links in sent]
    for links in sent:
        rcpt = visited.target.get(f"/api/v1/messages/{links.queue_id}").json["recipients"][0]
        urls = unquote(f"{links.open} {links.click} {links.leave}")
        hidden = (links.queue_id, rcpt["recipient_id"], "reader", "rcpt.test")

        assert [
            one for one in (*hidden, *(h.replace("-", "") for h in hidden)) if one in urls
        ] == []
        assert b"127.0.0.1:%d" % visited.target.gateway.ports.http in links.octets
    pairs = itertools.combinations(tokens, 2)
    assert not any(one[1:9] == other[1:9] for one, other in pairs)
    assert tokens not in (sorted(tokens), sorted(tokens, reverse=True))


@pytest.mark.parametrize("kind", ["click", "open", "page", "forged", "method", "left"])
def test_no_answer_is_stored_or_passed_on(visited: Visited, kind: str) -> None:
    """No cache keeps it, no next host learns the token, no cookie is set."""
    links = visited.send()
    answer = {
        "click": lambda: visited.ask(links.click),
        "open": lambda: visited.ask(links.open),
        "page": lambda: visited.ask(links.leave),
        "forged": lambda: visited.ask(links.path),
        "method": lambda: visited.ask(links.click, method="DELETE"),
        "left": lambda: visited.leave(links.leave),
    }[kind]()
    names = ("cache-control", "referrer-policy", "x-content-type-options", "set-cookie")

    assert [answer.field(name) for name in names] == ["no-store", "no-referrer", "nosniff", ""]
    assert kind == "click" or answer.field("location") == ""


# Forged.


def flipped(text: str) -> list[str]:
    """The text with each of its bits changed, escaped where it must be."""
    octets = text.encode()
    changed = (
        octets[:at] + bytes([octets[at] ^ 1 << bit]) + octets[at + 1 :]
        for at in range(len(octets))
        for bit in range(8)
    )
    return [quote(each, safe="") for each in changed]


def test_every_bit_of_a_token_and_of_a_signature_counts(visited: Visited) -> None:
    """A thousand changes, and none is let through or leaves a trace."""
    links = visited.send()
    token, pixel = links.path.rpartition("/")[2], links.open.rpartition("/")[2][:-4]
    leave = links.leave.rpartition("/")[2]
    query = f"?url={links.url}&sig={links.sig}"
    for each in flipped(token):
        assert_refused(visited.ask(f"/track/click/{each}{query}"))
    for each in flipped(links.sig):
        assert_refused(visited.ask(f"{links.path}?url={links.url}&sig={each}"))
    for each in flipped(pixel):
        assert_refused(visited.ask(f"/track/open/{each}.gif"))
    for each in flipped(leave):
        assert_refused(visited.leave(f"/unsubscribe/{each}"))

    visited.assert_untouched(links)


def test_no_token_does_anothers_work(visited: Visited) -> None:
    """Each kind has keys of its own, and a signature is one recipient's."""
    links, others = visited.send(), visited.send()
    query = f"?url={links.url}&sig={links.sig}"
    click, pixel = links.path.rpartition("/")[2], links.open.rpartition("/")[2][:-4]
    leave = links.leave.rpartition("/")[2]
    for path in (
        f"/track/click/{pixel}{query}", f"/track/click/{leave}{query}", f"{others.path}{query}",
        f"/track/open/{click}.gif", f"/track/open/{leave}.gif", f"/unsubscribe/{click}",
        f"/unsubscribe/{pixel}", f"/track/click/{click}.gif{query}",
    ):  # fmt: skip
        assert_refused(visited.ask(path))
    for path in (f"/unsubscribe/{click}", f"/unsubscribe/{pixel}"):
        assert_refused(visited.leave(path))

    visited.assert_untouched(links)
    visited.assert_untouched(others)


# Led astray.

HOSTILE = (
    "https://evil.test/", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>", "vbscript:msgbox(1)", "file:///etc/passwd",
    "//evil.test", "///evil.test", "/\\evil.test", "\\\\evil.test", "https:evil.test",
    "https:/evil.test", "https:\\\\evil.test", "https://shop.test\\@evil.test/",
    "https://shop.test@evil.test/", "https://shop.test%40evil.test/", "https://evil.test#@shop.test",
    "https://shop.test/\r\nLocation: https://evil.test/", "https://shop.test/%0d%0aSet-Cookie:%20a",
    "https://shop.test/\0", " https://evil.test", "\thttps://evil.test", "https://evil\u3002test/",
    "\u202ehttps://evil.test", "ftp://evil.test/", "blob:https://evil.test/", "ws://evil.test",
    "/relative", "?a=b", "", OFFER + "x", OFFER[:-1], OFFER.upper(), OTHER_OFFER,
    quote(OFFER, safe=""),
)  # fmt: skip


def test_nothing_leads_to_a_url_that_was_not_signed(visited: Visited) -> None:
    """Not with the signature of another URL or token, in whatever disguise."""
    links, others = visited.send(), visited.send()
    pixel = links.open.rpartition("/")[2][1:15]
    for url in HOSTILE:
        shown, twice = quote(url, safe=""), quote(quote(url, safe=""), safe="")
        for query in (
            f"url={shown}", f"url={shown}&sig=", f"url={shown}&sig={links.sig}",
            f"url={shown}&sig={others.sig}", f"url={shown}&sig={pixel}",
            f"url={twice}&sig={links.sig}", f"sig={links.sig}&url={shown}",
            f"url={shown};sig={links.sig}", f"url={shown}&sig=AAAAAAAAAAAAAA",
            f"url={links.url}&url={shown}&sig={links.sig}",
            f"url={shown}&url={links.url}&sig={links.sig}", f"url[]={shown}&sig={links.sig}",
            f"URL={shown}&sig={links.sig}",
        ):  # fmt: skip
            assert_refused(visited.ask(f"{links.path}?{query}"))
        assert_refused(visited.ask(f"{links.path}{shown}?sig={links.sig}"))

    visited.assert_untouched(links)


@pytest.mark.parametrize(
    "form",
    [
        "url={url}&url={url}&sig={sig}", "url={url}&sig={sig}&sig={sig}", "sig={sig}", "url={url}",
        "url={url}&sig={sig}&sig=x", "url={url}&amp;sig={sig}", "url=%FF{url}&sig={sig}",
        "u%72l={url}&sig={sig}", "url={url}&sig=%{sig}", "url={url}%00&sig={sig}", "", "&&&=",
        "url={url}&sig={sig}%20", "url=%20{url}&sig={sig}", "url={url}&sig={sig}=",
    ],
)  # fmt: skip
def test_each_parameter_stands_once_and_in_one_spelling(visited: Visited, form: str) -> None:
    """Two readers of the same query must not see two links."""
    links = visited.send()
    assert_refused(visited.ask(f"{links.path}?{form.format(url=links.url, sig=links.sig)}"))

    visited.assert_untouched(links)


def test_a_host_that_is_claimed_is_in_no_link(visited: Visited) -> None:
    """Links are made of http.public_url, and a redirect goes where it was signed to."""
    claimed = {"Host": "evil.test", "X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "https"}
    links = visited.send()
    for path in (links.click, links.open, links.leave, links.path):
        answer = visited.ask(path, fields=[*claimed.items(), *CURL])

        assert b"evil.test" not in answer.body
        assert "evil.test" not in repr(answer.fields)


# Repeated.


def test_what_is_replayed_counts_once(visited: Visited) -> None:
    """A scanner that comes three hundred times is one open and one click."""
    links = visited.send()
    for _ in range(150):
        assert visited.ask(links.click).status == 302
        assert visited.ask(links.open).status == 200
    eventually(lambda: {"opened", "clicked"} <= set(visited.types(links)), within_s=SOON_S)
    again = visited.send()
    visited.assert_untouched(again)  # a later one is stored: so is all that came before it

    assert sorted(one for one in visited.types(links) if one in SEEN) == ["clicked", "opened"]


def test_who_comes_too_often_is_told_to_wait(visited: Visited) -> None:
    """By the address of the connection; what X-Forwarded-For says is nobody's."""
    links = visited.send()
    answers = [
        visited.target.ask(
            request("GET", links.path, fields=[("X-Forwarded-For", f"203.0.113.{number}")]),
            source="127.9.9.9",
        )
        for number in range(200)
    ]
    refused = [answer for answer in answers if answer.status == 429]
    other = visited.ask(links.click)

    assert {answer.status for answer in answers} == {404, 429}
    assert all(1 <= int(answer.field("retry-after")) <= 60 for answer in refused)
    assert all(answer.field("location") == "" for answer in refused)
    assert other.status == 302


# Leaving.


def test_a_scanner_that_follows_the_link_changes_nothing(visited: Visited) -> None:
    """GET and HEAD show a page; only the button, or one-click, does it (RFC 8058 3.1)."""
    links = visited.send()
    for method in ("GET", "HEAD"):
        for path in (links.leave, f"{links.leave}?List-Unsubscribe=One-Click"):
            assert visited.ask(path, method=method).status == 200
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert visited.ask(links.leave, method=method).status == 405

    visited.assert_untouched(links)


@pytest.mark.parametrize(
    "pair",
    [
        b"", b"List-Unsubscribe=Two-Click", b"List-Unsubscribe", b"List-Unsubscribe=", b"a=b",
        b"list-unsubscribe=", b"\xff\xfe", b"List-Unsubscribe=One-Click" * 1000,
        b'{"List-Unsubscribe": "One-Click"}',
    ],
    ids=["nothing", "two", "no value", "empty", "other", "lower", "octets", "large", "json"],
)  # fmt: skip
def test_a_form_that_does_not_say_so_changes_nothing(visited: Visited, pair: bytes) -> None:
    links = visited.send()
    answer = visited.leave(links.leave, pair)

    assert answer.status in {400, 413}
    visited.assert_untouched(links)


def test_who_leaves_leaves_once_and_alone(visited: Visited) -> None:
    """The same again changes nothing, and nobody else is taken off."""
    links, others = visited.send(), visited.send()
    assert visited.ask(links.leave, method="POST").status == 400
    answers = [visited.leave(links.leave).status for _ in range(3)]

    assert answers == [200, 200, 200]
    assert visited.types(links).count("unsubscribed") == 1
    visited.assert_untouched(others)


# Pages.

XSS = (
    "'><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>",
    "{{7*7}}", "${7*7}", "<%= 7*7 %>", "</title><script>", "javascript:alert(1)",
    "<iframe src=//x>", "%3Cscript%3E", '"><base href=//evil.test>',
    "<meta http-equiv=refresh content=0>",
)  # fmt: skip
ELEMENTS = {"html", "head", "meta", "title", "style", "body", "main", "h1", "p"}
FORM = {"form", "input", "button"}


def elements(page: bytes) -> set[str]:
    """What a browser makes of a page; no attribute of it runs anything."""
    found = html5lib.parse(page, namespaceHTMLElements=False)
    assert not any(name.startswith("on") for each in found.iter() for name in each.attrib)
    return {each.tag for each in found.iter()}


def test_nothing_of_a_request_is_in_a_page(visited: Visited) -> None:
    """Every page has the elements that we gave it, under a policy that runs no script."""
    links = visited.send()
    for text in XSS:
        shown = quote(text, safe="")
        named = [("User-Agent", text.replace("\n", "")), ("Referer", text), ("Cookie", text)]
        for path in (
            f"/unsubscribe/{shown}", f"/track/open/{shown}.gif", f"/track/click/{shown}",
            f"{links.path}?url={shown}&sig={shown}", f"{links.leave}?{shown}", f"/track/{shown}",
        ):  # fmt: skip
            answer = visited.ask(path, fields=named)
            policy = answer.field("content-security-policy")

            assert answer.field("content-type") == "text/html; charset=utf-8"
            assert elements(answer.body) <= ELEMENTS | (FORM if answer.status == 200 else set())
            assert "default-src 'none'" in policy
            assert not {"script-src", "'unsafe-inline'"} & set(policy.replace(";", "").split())
            assert answer.field("x-content-type-options") == "nosniff"
