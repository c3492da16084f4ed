"""Exim, the real one, as a host that bounces. Debian's exim4-daemon-light in an overlay."""

from __future__ import annotations

from tests.peers.overlay import Overlay
from tests.peers.routes import HOST, Routes
from tests.peers.waiting import free_ports

USER = "Debian-exim"  # compiled in

# Whoever connects may relay: only loopback can. A queue runner comes each second, for a report
# that was told to come again.
CONFIG = """\
primary_hostname = {host}
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
log_file_path = {logs}/%slog
keep_environment =
tls_advertise_hosts =
dsn_advertise_hosts = *
acl_smtp_rcpt = accept
acl_smtp_data = accept

begin routers
fixed:
  driver = manualroute
  route_data = ${{lookup{{$domain}}lsearch{{/etc/exim4/routes}}}}
  self = send
  transport = smtp

begin transports
smtp:
  driver = smtp
  allow_localhost

begin retry
* * F,1h,1s
"""


class Exim(Overlay):
    """It speaks STARTTLS (GnuTLS) with whoever offers it."""

    def __init__(self, routes: Routes) -> None:
        super().__init__("exim4-daemon-light", users=(USER,), port=free_ports(1)[0])
        self.write(
            "/etc/exim4/exim4.conf", CONFIG.format(host=HOST, port=self.port, logs=self.logs)
        )
        self.write("/etc/exim4/routes", routes.table("{domain}: 127.0.0.1::{port}"))
        self.make_directory("/var/spool/exim4", owner=USER)
        self.make_directory("/run/exim4", owner=USER)

    def command(self) -> tuple[str, ...]:
        return ("exim4", "-bdf", "-q1s")
