"""What comes back from real mail servers: each bounces by itself, to the address it was given.

```
gatewayd --> Postfix, Exim or OpenSMTPD --> `remote` refuses NOBODY at RCPT
   ^                     |
   +-- its own report ---+
```
"""

from __future__ import annotations

import email
import email.policy
import html
import http.client
import json
import re
import smtplib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.smtp_sink import Copy, SmtpSink
from tests.peers.exim import Exim
from tests.peers.gateway import GATEWAYD, Gateway
from tests.peers.opensmtpd import OpenSmtpd
from tests.peers.postfix import Forwarder
from tests.peers.programs import run
from tests.peers.routes import BOUNCES, HOST, REMOTE, BouncingHost, Routes
from tests.peers.waiting import eventually
from tests.peers.web import fetch

pytestmark = [pytest.mark.peer, pytest.mark.slow]

NOBODY = f"nobody@{REMOTE}"
READER = f"reader@{REMOTE}"
REFUSED = f"refused@{REMOTE}"
UNKNOWN = f"550 5.1.1 <{NOBODY}>: Recipient address rejected: User unknown\r\n".encode()
OFFER = "https://shop.test/offer?id=7&from=mail"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

MakeHost = Callable[[Routes], BouncingHost]
HOSTS: dict[str, MakeHost] = {"postfix": Forwarder, "exim": Exim, "opensmtpd": OpenSmtpd}


@dataclass(frozen=True, slots=True)
class Site:
    """A gateway whose next hop bounces back to it, and the place that refuses and keeps mail."""

    gateway: Gateway
    host: BouncingHost
    remote: SmtpSink

    def send(self, *recipients: str, **fields: str) -> tuple[int, dict[str, Any]]:
        """By HTTP; status and answer."""
        body = {"to": list(recipients), "subject": "hello", **(fields or {"text": "Hello"})}
        return self.gateway.post("/api/v1/messages/send", body)

    def get(self, queue_id: str, rest: str = "") -> dict[str, Any]:
        url = f"{self.gateway.http_url}/api/v1/messages/{queue_id}{rest}"
        return dict(json.loads(fetch(url, token=self.gateway.token)))

    def wait_for(self, queue_id: str, **states: str) -> dict[str, dict[str, Any]]:
        """The recipients by local-part, as soon as they are all in these states."""
        found: dict[str, dict[str, Any]] = {}

        def is_so() -> bool:
            recipients = self.get(queue_id)["recipients"]
            found.update({one["address"].partition("@")[0]: one for one in recipients})
            return {name: one["state"] for name, one in found.items()} == states

        def what() -> str:
            return f"{states}, but {found}\n{self.gateway.tail()}\n{self.host.tail()}"

        eventually(is_so, within_s=60, what=what)
        return found


@contextmanager
def running(directory: Path, make_host: MakeHost, **options: Any) -> Iterator[Site]:  # noqa: ANN401 - fields of Gateway
    with ExitStack() as stack:
        remote = stack.enter_context(SmtpSink(refused={NOBODY: UNKNOWN}))
        gateway = stack.enter_context(Gateway(directory, bounces=BOUNCES, **options))
        routes = Routes(remote=remote.port, bounces=gateway.ports.bounces)
        with make_host(routes) as host:
            gateway.smarthost = (
                f'host = "127.0.0.1"\nport = {host.port}\ntls_mode = "none-on-loopback"\n'
            )
            gateway.write_config()
            gateway.prepare()
            gateway.start()
            yield Site(gateway, host, remote)
        assert gateway.stop() == 0, gateway.tail()


@pytest.mark.parametrize("name", HOSTS)
def test_host_bounces_to_the_reverse_path(name: str) -> None:
    """Each host takes the mail, is refused, and writes its own report under a null path."""
    reverse_path = f"bounce+aebagbafaydqqcikbmga2dqpca.aagq7mfrggzdfmztwq2lk@{BOUNCES}"
    with SmtpSink(refused={NOBODY: UNKNOWN}) as remote, SmtpSink() as receiver:
        routes = Routes(remote=remote.port, bounces=receiver.port)
        with HOSTS[name](routes) as host, smtplib.SMTP("127.0.0.1", host.port) as client:
            client.sendmail(
                reverse_path,
                [NOBODY],
                f"From: agent@sender.test\r\nTo: {NOBODY}\r\nSubject: hello\r\n"
                "Message-ID: <1@sender.test>\r\n\r\nHello\r\n".encode(),
            )
            (report,) = eventually(lambda: receiver.copies, within_s=30, what=host.tail)

    assert (report.reverse_path, report.forward_paths) == ("", (reverse_path,))
    assert UNKNOWN[:9] in report.octets
    assert HOST in report.field("From")


@pytest.mark.parametrize("name", HOSTS)
def test_address_that_bounced_gets_no_more_mail(name: str, tmp_path: Path) -> None:
    """The recipient that the report names is bounced and suppressed; the other one is not."""
    with running(tmp_path, HOSTS[name]) as site:
        _, accepted = site.send(NOBODY, READER)
        found = site.wait_for(accepted["queue_id"], nobody="bounced", reader="delivered")
        (suppression,) = site.gateway.command("suppressions", "list")["items"]
        status, problem = site.send(NOBODY)
        with smtplib.SMTP("127.0.0.1", site.gateway.ports.plain) as client:
            client.login(site.gateway.mailbox, site.gateway.token)
            client.mail(site.gateway.mailbox)
            code, text = client.rcpt(NOBODY)
        (copy,) = site.remote.copies

    assert found["nobody"]["delivered_at"] is not None  # both facts are kept
    assert (suppression["address"], suppression["reason"]) == (NOBODY, "hard_bounce")
    assert (status, problem["code"]) == (422, "recipient_suppressed")
    assert (code, text.partition(b":")[0]) == (550, b"5.7.1 recipient_suppressed")
    assert copy.forward_paths == (READER,)
    assert re.fullmatch(rf"bounce\+[a-z2-7.]+@{BOUNCES}", copy.reverse_path)


def test_three_recipients_have_three_stories(tmp_path: Path) -> None:
    """One is refused at RCPT, one comes back, one clicks: explain says that, and no more."""
    make_host = partial(Forwarder, refused={REFUSED: "550 5.1.1 User unknown"})
    page = f'<p>An <a href="{html.escape(OFFER)}">offer</a></p>'
    with running(
        tmp_path, make_host, is_public=True, extra="[tracking]\nmachine_s = 0.001\n"
    ) as site:
        _, accepted = site.send(REFUSED, NOBODY, READER, text="An offer", html=page)
        queue_id = accepted["queue_id"]
        site.wait_for(queue_id, refused="failed", nobody="bounced", reader="delivered")
        (copy,) = site.remote.copies
        answer = follow(link_of(copy))
        eventually(
            lambda: "clicked" in stories(site.get(queue_id, "/explain"))["reader"][1],
            within_s=30,
            what=site.gateway.tail,
        )
        by_api = site.get(queue_id, "/explain")
        by_command = site.gateway.command("messages", "explain", queue_id)
        shown = run(*GATEWAYD, "messages", "explain", queue_id, "-c", site.gateway.config_file)

    assert answer == (302, OFFER)
    assert stories(by_api) == {
        "refused": ("failed", {"suppressed"}),
        "nobody": ("bounced", {"delivered", "bounced", "suppressed"}),
        "reader": ("delivered", {"delivered", "clicked"}),
    }
    assert stories(by_command) == stories(by_api)
    for address, story in ((REFUSED, "at RCPT"), (NOBODY, "user_unknown"), (READER, "taken")):
        assert re.search(rf"(?m)^  {address} .*{story}", shown.stdout.decode())


def stories(explanation: dict[str, Any]) -> dict[str, tuple[str, set[str]]]:
    """State and facts, by local-part."""
    return {
        one["address"].partition("@")[0]: (one["state"], {fact["what"] for fact in one["facts"]})
        for one in explanation["recipients"]
    }


def link_of(copy: Copy) -> str:
    """The one link in the HTML of a mail, as a mail client sees it."""
    message = email.message_from_bytes(copy.octets, policy=email.policy.default)
    body = message.get_body(("html",))
    assert body is not None
    (link,) = re.findall(r'href="([^"]*)"', body.get_content())
    return html.unescape(link)


def follow(link: str) -> tuple[int, str | None]:
    """What a browser is told: status and Location."""
    where = urlsplit(link)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    try:
        connection.request("GET", f"{where.path}?{where.query}", headers={"User-Agent": BROWSER})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location")
    finally:
        connection.close()
