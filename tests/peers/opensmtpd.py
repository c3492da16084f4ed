"""OpenSMTPD, the real one, as a host that bounces. Debian's opensmtpd in an overlay.

Its report is no multipart/report: a multipart/mixed with a message/delivery-status in it, and only
the text part has the reply that it was given.
"""

from __future__ import annotations

from tests.peers.overlay import Overlay
from tests.peers.routes import BOUNCES, HOST, REMOTE, Routes
from tests.peers.waiting import free_ports

USERS = ("opensmtpd", "opensmtpq")  # compiled in

# From one address to another it waits five seconds between connections, whatever their ports are,
# so each domain is reached from an address of its own.
CONFIG = """\
listen on 127.0.0.1 port {port} hostname {host}
action "remote" relay host "smtp://127.0.0.1:{routes.remote}" src 127.0.0.2
action "bounces" relay host "smtp://127.0.0.1:{routes.bounces}" src 127.0.0.3
match from any for domain "{remote}" action "remote"
match from any for domain "{bounces}" action "bounces"
"""


class OpenSmtpd(Overlay):
    """It speaks STARTTLS (OpenSSL) with whoever offers it."""

    def __init__(self, routes: Routes) -> None:
        super().__init__("opensmtpd", users=USERS, port=free_ports(1)[0])
        self.write(
            "/etc/smtpd.conf",
            CONFIG.format(port=self.port, host=HOST, routes=routes, remote=REMOTE, bounces=BOUNCES),
        )

    def command(self) -> tuple[str, ...]:
        return ("smtpd", "-d")
