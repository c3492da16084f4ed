"""The servers that take turns, each started anew for each round, in a directory of its own.

| contestant        | what it does for a message                                                 |
|-------------------|----------------------------------------------------------------------------|
| gatewayd          | AUTH with a token, quota, suppression, events, one commit with             |
|                   | `synchronous=FULL`; RSA-2048 and Ed25519 signatures when it delivers       |
| Postfix           | Debian's defaults: one file, one fsync; no AUTH, no signature              |
| Postfix, opendkim | the same with Debian's opendkim as milter: an RSA-2048 signature           |
| Exim              | Debian's exim4-daemon-light: two files, fsync; no AUTH, no signature       |
| OpenSMTPD         | Debian's opensmtpd: two files, fsync; no AUTH, no signature                |

All relay to one host without TLS, whatever the recipient. With no next hop, Postfix and Exim are
told to keep what they accept; gatewayd and OpenSMTPD try a port that nobody listens on, and wait.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.bench.client import OPENSSL, Served
from tests.peers.certificates import make_certificates
from tests.peers.gateway import Gateway
from tests.peers.overlay import PACKAGES, Overlay
from tests.peers.postfix import Postfix
from tests.peers.waiting import eventually, free_ports, is_listening

SENDER: Final = "agent@sender.test"
AWAY: Final = 1  # a port that nobody listens on
NO_TLS: Final = f"{OPENSSL} is not there: apt-get install libssl-dev"


class Contestant(Protocol):
    """A server that can be started anew for each round."""

    @property
    def name(self) -> str: ...

    def lacks(self) -> str:
        """What has to be installed before it can run; nothing if it can."""
        ...

    def serve(self, next_hop: int | None) -> AbstractContextManager[Served]:
        """Run it, with this port as the host that it relays to."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatewayd:
    """The installed daemon, with everything on."""

    is_tls: bool = False
    name: str = "gatewayd"

    def lacks(self) -> str:
        return NO_TLS if self.is_tls and not OPENSSL.exists() else ""

    @contextmanager
    def serve(self, next_hop: int | None) -> Iterator[Served]:
        with gateway(next_hop) as daemon:
            assert daemon.process is not None
            login = base64.b64encode(f"\0{daemon.mailbox}\0{daemon.token}".encode())
            yield Served(
                port=daemon.ports.submissions if self.is_tls else daemon.ports.plain,
                auth=login.decode(),
                sender=daemon.mailbox,
                pid=daemon.process.pid,
                is_tls=self.is_tls,
            )


@contextmanager
def gateway(
    next_hop: int | None, *, bounces: str = "", is_public: bool = False
) -> Iterator[Gateway]:
    """A daemon with a mailbox, a token and signing keys, which is stopped in good order."""
    smarthost = f'host = "127.0.0.1"\nport = {next_hop or AWAY}\ntls_mode = "none-on-loopback"\n'
    with tempfile.TemporaryDirectory() as directory:
        daemon = Gateway(Path(directory), smarthost=smarthost, bounces=bounces, is_public=is_public)
        daemon.prepare()
        daemon.add_domain()
        with daemon:
            daemon.start()
            yield daemon
            assert daemon.stop() == 0, daemon.tail()


@dataclass(frozen=True, slots=True, kw_only=True)
class PostfixRelay:
    """Postfix as it comes, relaying to one host; perhaps with a milter that signs."""

    is_signing: bool = False
    is_tls: bool = False

    @property
    def name(self) -> str:
        return "Postfix, opendkim" if self.is_signing else "Postfix"

    def lacks(self) -> str:
        if shutil.which("postfix") is None:
            return "Postfix is not installed: apt-get install postfix"
        if os.geteuid():
            return "Postfix starts as root only"
        if self.is_signing and shutil.which("opendkim") is None:
            return "opendkim is not installed: apt-get install opendkim"
        return NO_TLS if self.is_tls and not OPENSSL.exists() else ""

    @contextmanager
    def serve(self, next_hop: int | None) -> Iterator[Served]:
        (port,) = free_ports(1)
        postfix = Postfix("bench", ports=(port,))
        settings: dict[str, object] = {
            "myhostname": "postfix.test",
            "mynetworks": "127.0.0.0/8",
            "mydestination": "",
            "relayhost": f"[127.0.0.1]:{next_hop or AWAY}",
            "defer_transports": "" if next_hop else "smtp",
            "smtp_tls_security_level": "none",
            "smtpd_tls_security_level": "none",
        }
        if self.is_tls:
            files = make_certificates(postfix.directory / "tls")
            settings |= {
                "smtpd_tls_security_level": "encrypt",
                "smtpd_tls_wrappermode": "yes",
                "smtpd_tls_cert_file": files.chain,
                "smtpd_tls_key_file": files.key,
            }
        with _milter(postfix.directory, wanted=self.is_signing) as milter:
            if milter is not None:
                settings |= {
                    "smtpd_milters": f"inet:127.0.0.1:{milter.port}",
                    "milter_default_action": "tempfail",
                }
            postfix.configure(settings)
            with postfix:
                master = int((postfix.directory / "queue/pid/master.pid").read_text())
                yield Served(
                    port=port,
                    auth="-",
                    sender=SENDER,
                    pid=master,
                    others=(milter.pid,) if milter else (),
                    is_tls=self.is_tls,
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Milter:
    """opendkim while it runs."""

    port: int
    pid: int


@contextmanager
def _milter(directory: Path, *, wanted: bool) -> Iterator[Milter | None]:
    if not wanted:
        yield None
        return
    (port,) = free_ports(1)
    key = directory / "dkim.pem"
    key.touch(mode=0o600)
    key.write_bytes(
        rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
    )
    file = directory / "opendkim.conf"
    file.write_text(OPENDKIM.format(port=port, key=key, domain=SENDER.partition("@")[2]))
    process = subprocess.Popen(["opendkim", "-f", "-x", file])
    try:
        eventually(
            lambda: is_listening(port) or process.poll() is not None, within_s=30, what="opendkim"
        )
        assert process.poll() is None, "opendkim ended at once"
        yield Milter(port=port, pid=process.pid)
    finally:
        process.terminate()
        process.wait(30)


# It distrusts every key below a directory that others can write to, as /tmp is.
OPENDKIM = """\
Mode s
Domain {domain}
Selector bench
KeyFile {key}
Socket inet:{port}@127.0.0.1
Canonicalization relaxed/relaxed
InternalHosts 127.0.0.1
Syslog no
RequireSafeKeys no
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EximRelay:
    """Exim as it comes, but for a session's tenth message and later: they are delivered at once."""

    name: str = "Exim"

    def lacks(self) -> str:
        return _lacks_overlay("exim4-daemon-light")

    @contextmanager
    def serve(self, next_hop: int | None) -> Iterator[Served]:
        exim = _Exim(next_hop)
        with exim:
            yield Served(port=exim.port, auth="-", sender=SENDER, pid=exim.pid)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSmtpdRelay:
    """OpenSMTPD as it comes. It opens few connections to one host, so it only accepts here."""

    name: str = "OpenSMTPD"

    def lacks(self) -> str:
        return _lacks_overlay("opensmtpd")

    @contextmanager
    def serve(self, next_hop: int | None) -> Iterator[Served]:
        opensmtpd = _OpenSmtpd(next_hop)
        with opensmtpd:
            yield Served(port=opensmtpd.port, auth="-", sender=SENDER, pid=opensmtpd.pid)


def _lacks_overlay(package: str) -> str:
    if os.geteuid():
        return f"{package} starts as root only"
    if not list((PACKAGES / package).glob(f"{package}_*.deb")):
        return f"{package} is not in build/peers, where .ci/run downloads it"
    return ""


class _Server(Overlay):
    """An overlay that says what it costs.

    What is written inside goes to a tmpfs, where an fsync costs nothing, but for `logs`: there its
    queue is, on the disk that the others write to.
    """

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


class _Exim(_Server):
    def __init__(self, next_hop: int | None) -> None:
        super().__init__("exim4-daemon-light", users=("Debian-exim",), port=free_ports(1)[0])
        self.write(
            "/etc/exim4/exim4.conf",
            EXIM.format(
                port=self.port,
                logs=self.logs,
                is_kept="false" if next_hop else "true",
                next_hop=next_hop or AWAY,
            ),
        )
        self.make_directory("/run/exim4", owner="Debian-exim")

    def command(self) -> tuple[str, ...]:
        return ("exim4", "-bdf")


class _OpenSmtpd(_Server):
    def __init__(self, next_hop: int | None) -> None:
        super().__init__("opensmtpd", users=("opensmtpd", "opensmtpq"), port=free_ports(1)[0])
        (self.logs / "spool").mkdir(mode=0o711)
        directory = self._directory / "files/var/spool"
        directory.mkdir(parents=True)
        (directory / "smtpd").symlink_to(self.logs / "spool")
        self.write("/etc/smtpd.conf", OPENSMTPD.format(port=self.port, next_hop=next_hop or AWAY))

    def command(self) -> tuple[str, ...]:
        return ("smtpd", "-d")


EXIM = """\
primary_hostname = exim.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
log_file_path = {logs}/%slog
spool_directory = {logs}/spool
keep_environment =
tls_advertise_hosts =
acl_smtp_rcpt = accept
acl_smtp_data = accept
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
queue_only = {is_kept}

begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1::{next_hop}
  self = send
  transport = smtp

begin transports
smtp:
  driver = smtp
  allow_localhost

begin retry
* * F,1h,15m
"""

OPENSMTPD = """\
listen on 127.0.0.1 port {port} hostname opensmtpd.test
action "relay" relay host "smtp://127.0.0.1:{next_hop}"
match from any for any action "relay"
"""
