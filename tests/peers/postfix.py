"""Postfix, the real one: instances with config, queue and data directories of their own.

| instance      | what it is                                                                      |
|---------------|---------------------------------------------------------------------------------|
| `Smarthost`   | STARTTLS and SASL AUTH required; takes all mail for a virtual maildir            |
| `NullClient`  | no local delivery; all mail goes to one relay, with TLS and a SASL login         |
| `Forwarder`   | takes mail for domains that others have, and bounces what those refuse           |

Each lives in a directory under /tmp that the user `postfix` can enter (pytest's is for its owner
only), listens on loopback, logs to its own file, and is stopped by its own configuration directory:
a Postfix of the machine is never touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.peers.certificates import Certificates, make_certificates
from tests.peers.programs import let_users_read, require, require_root, run
from tests.peers.routes import HOST, Routes
from tests.peers.waiting import eventually, free_ports, is_listening

PROGRAMS = ("postfix", "postconf", "postlog")
START_S = 30.0
NOBODY = 65534

MASTER = """\
{smtp}
pickup    unix  n       -       n       1       1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       5       1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


class Postfix:
    """One instance; `with` starts it, and stops exactly it."""

    def __init__(self, name: str, *, ports: tuple[int, ...] = ()) -> None:
        require(*PROGRAMS)
        require_root()
        let_users_read()
        self.directory = Path(tempfile.mkdtemp(prefix=f"gatewayd-{name}-"))
        self.directory.chmod(0o755)
        self.config = self.directory / "etc"
        self.log = self.directory / "maillog"
        self._ports = ports
        for part in ("etc", "queue", "data"):
            (self.directory / part).mkdir()
        shutil.chown(self.directory / "data", "postfix")
        services = [f"127.0.0.1:{port} inet n - n - - smtpd" for port in ports]
        (self.config / "master.cf").write_text(MASTER.format(smtp="\n".join(services)))

    def configure(self, settings: Mapping[str, object]) -> None:
        """Write main.cf; what it does not say is Postfix's default, never the machine's."""
        common = {
            "compatibility_level": "3.6",
            "queue_directory": self.directory / "queue",
            "data_directory": self.directory / "data",
            "maillog_file": self.log,
            "maillog_file_prefixes": self.directory,
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.2/32",  # nobody: being on this machine proves nothing
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "biff": "no",
            "smtputf8_enable": "yes",
            "daemon_directory": _setting("daemon_directory"),
            "shlib_directory": _setting("shlib_directory"),
            "meta_directory": _setting("meta_directory"),
            "multi_instance_enable": "yes",
        }
        lines = [f"{key} = {value}\n" for key, value in {**common, **settings}.items()]
        (self.config / "main.cf").write_text("".join(lines))

    def __enter__(self) -> Self:
        run("postfix", "-c", self.config, "start")
        try:
            eventually(self._is_listening, within_s=START_S, what=self.tail)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the master, wait until it is gone, and remove all that it wrote."""
        run("postfix", "-c", self.config, "stop", expected=None)
        eventually(lambda: not self._is_running(), within_s=START_S, what="postfix stops")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _is_listening(self) -> bool:
        return all(is_listening(port) for port in self._ports)

    def _is_running(self) -> bool:
        return run("postfix", "-c", self.config, "status", expected=None).returncode == 0

    def tail(self) -> str:
        """The end of its log, for a failed test."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else "no log"


class Smarthost(Postfix):
    """A relay that wants STARTTLS and a login, and keeps what it takes in a maildir."""

    user = "gatewayd"
    password = "relay secret"

    def __init__(self) -> None:
        require("saslpasswd2")
        (self.port,) = ports = tuple(free_ports(1))
        super().__init__("smarthost", ports=ports)
        self.certificates: Certificates = make_certificates(self.directory / "tls")
        self._make_login()
        self.mail = self.directory / "mail"
        self.mail.mkdir()
        os.chown(self.mail, NOBODY, NOBODY)
        (self.config / "mailboxes").write_text("/./ all/\n")
        self.configure(
            {
                "myhostname": "relay.test",
                "mydestination": "",
                "virtual_mailbox_domains": f"regexp:{self._every_domain()}",
                "virtual_mailbox_maps": f"regexp:{self.config / 'mailboxes'}",
                "virtual_mailbox_base": self.mail,
                "virtual_uid_maps": f"static:{NOBODY}",
                "virtual_gid_maps": f"static:{NOBODY}",
                "virtual_mailbox_limit": "0",
                "message_size_limit": "20000000",
                "smtpd_tls_security_level": "encrypt",
                "smtpd_tls_cert_file": self.certificates.chain,
                "smtpd_tls_key_file": self.certificates.key,
                "smtpd_tls_received_header": "yes",
                "smtpd_tls_loglevel": "1",
                "smtpd_sasl_auth_enable": "yes",
                "smtpd_sasl_type": "cyrus",
                "smtpd_sasl_path": "smtpd",
                "cyrus_sasl_config_path": self.config / "sasl",
                "smtpd_sasl_local_domain": "relay.test",
                "smtpd_sasl_security_options": "noanonymous",
                "smtpd_sasl_tls_security_options": "noanonymous",
                "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
                "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
            }
        )

    def _every_domain(self) -> Path:
        file = self.config / "domains"
        file.write_text("/./ takes-all\n")
        return file

    def _make_login(self) -> None:
        """A SASL database of its own: Cyrus, for Debian's Postfix has no other server side."""
        database = self.directory / "sasldb"  # not in etc: Postfix wants that to be root's
        directory = self.config / "sasl"
        directory.mkdir()
        (directory / "smtpd.conf").write_text(
            "pwcheck_method: auxprop\n"
            "auxprop_plugin: sasldb\n"
            f"sasldb_path: {database}\n"
            "mech_list: PLAIN LOGIN\n"
        )
        run(
            *("saslpasswd2", "-p", "-c", "-f", database, "-u", "relay.test", self.user),
            stdin=self.password.encode(),
        )
        shutil.chown(database, "postfix")

    def arrived(self) -> list[bytes]:
        """The messages of the maildir as they were delivered, with CRLF again."""
        directory = self.mail / "all" / "new"
        if not directory.exists():
            return []
        files = sorted(directory.iterdir())
        return [file.read_bytes().replace(b"\n", b"\r\n") for file in files]

    def wait_for(self, text: bytes, *, within_s: float = 30) -> bytes:
        """The one message that has `text` in it."""

        def found() -> list[bytes]:
            return [octets for octets in self.arrived() if text in octets]

        (octets,) = eventually(found, within_s=within_s, what=self.tail)
        return octets


class NullClient(Postfix):
    """A Postfix that sends all mail of its machine to one relay, and keeps none."""

    def __init__(self, *, relay_port: int, ca: Path, mailbox: str, token: str) -> None:
        super().__init__("null-client")
        self._secret("sasl", f"[127.0.0.1]:{relay_port} {mailbox}:{token}\n")
        self._secret("generic", f"@client.test {mailbox}\n")
        trusted = self.directory / "ca.pem"
        shutil.copy(ca, trusted)
        trusted.chmod(0o644)
        self.configure(
            {
                "myhostname": "client.test",
                "myorigin": "client.test",
                "mydestination": "",
                "relayhost": f"[127.0.0.1]:{relay_port}",
                "smtp_generic_maps": f"texthash:{self.config / 'generic'}",
                "smtp_sasl_auth_enable": "yes",
                "smtp_sasl_password_maps": f"texthash:{self.config / 'sasl'}",
                "smtp_sasl_security_options": "noanonymous",
                "smtp_tls_security_level": "secure",
                "smtp_tls_secure_cert_match": "localhost",
                "smtp_tls_CAfile": trusted,
            }
        )

    def _secret(self, name: str, text: str) -> None:
        file = self.config / name
        file.touch(mode=0o600)
        file.write_text(text)

    def sendmail(self, sender: str, recipients: list[str], octets: bytes) -> None:
        """Hand in one message as a program of that machine does."""
        run(
            *("sendmail", "-C", str(self.config), "-i", "-f", sender, "--", *recipients),
            stdin=octets,
        )

    def queue(self) -> str:
        """What still waits there."""
        return run("postqueue", "-c", self.config, "-p").stdout.decode()


class Forwarder(Postfix):
    """A relay for loopback that is told where each domain lives.

    Args:
        refused: addresses that it refuses itself, at RCPT, with this reply.
    """

    def __init__(self, routes: Routes, *, refused: Mapping[str, str] | None = None) -> None:
        (self.port,) = ports = tuple(free_ports(1))
        super().__init__("forwarder", ports=ports)
        (self.config / "transport").write_text(routes.table("{domain} smtp:[127.0.0.1]:{port}"))
        (self.config / "refused").write_text(
            "".join(f"{address} {reply}\n" for address, reply in (refused or {}).items())
        )
        self.configure(
            {
                "myhostname": HOST,
                "myorigin": HOST,
                "mydestination": "",
                "mynetworks": "127.0.0.1/32",
                "transport_maps": f"texthash:{self.config / 'transport'}",
                "smtpd_relay_restrictions": "permit_mynetworks, reject",
                "smtpd_recipient_restrictions": (
                    f"check_recipient_access texthash:{self.config / 'refused'}"
                ),
                "smtp_tls_security_level": "may",
                # A report that was told to come again does so at once.
                "queue_run_delay": "1s",
                "minimal_backoff_time": "1s",
                "maximal_backoff_time": "2s",
            }
        )


def _setting(name: str) -> str:
    """A path that belongs to the installed Postfix, not to an instance."""
    return subprocess.run(
        ["postconf", "-dh", name], capture_output=True, text=True, check=True
    ).stdout.strip()
