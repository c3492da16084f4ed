"""What comes back from real mail servers: each bounces by itself, to the address it was given."""

from __future__ import annotations

import smtplib
from collections.abc import Callable

import pytest

from tests.fakes.smtp_sink import SmtpSink
from tests.peers.exim import Exim
from tests.peers.opensmtpd import OpenSmtpd
from tests.peers.postfix import Forwarder
from tests.peers.routes import BOUNCES, HOST, REMOTE, BouncingHost, Routes
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.peer, pytest.mark.slow]

NOBODY = f"nobody@{REMOTE}"
UNKNOWN = f"550 5.1.1 <{NOBODY}>: Recipient address rejected: User unknown\r\n".encode()
HOSTS: dict[str, Callable[[Routes], BouncingHost]] = {
    "postfix": Forwarder,
    "exim": Exim,
    "opensmtpd": OpenSmtpd,
}


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
