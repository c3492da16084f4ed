"""OpenSMTPD, the real one, as a host that bounces. Debian's opensmtpd in an overlay.

Its report is no multipart/report: a multipart/mixed with a message/delivery-status in it, and only
the text part has the reply that it was given. It sends it some five seconds after the refusal.
"""

from __future__ import annotations

from tests.peers.overlay import Overlay
from tests.peers.routes import HOST, Routes
from tests.peers.waiting import free_ports

USERS = ("opensmtpd", "opensmtpq")  # compiled in

ROUTE = """\
action "{domain}" relay host "smtp://127.0.0.1:{port}"
match from any for domain "{domain}" action "{domain}"
"""


class OpenSmtpd(Overlay):
    """It speaks STARTTLS (OpenSSL) with whoever offers it."""

    def __init__(self, routes: Routes) -> None:
        super().__init__("opensmtpd", users=USERS, port=free_ports(1)[0])
        listen = f"listen on 127.0.0.1 port {self.port} hostname {HOST}\n"
        self.write("/etc/smtpd.conf", listen + routes.table(ROUTE))

    def command(self) -> tuple[str, ...]:
        return ("smtpd", "-d")
