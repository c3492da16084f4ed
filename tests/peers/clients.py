"""Mail clients that people use, each as one function: send this text to this recipient.

Every one of them verifies the daemon's certificate, and fails when the message is not accepted.
The text is on a line of its own in the body and in the subject.
"""

from __future__ import annotations

import fcntl
import json
import os
import smtplib
import ssl
from collections.abc import Callable
from pathlib import Path

from tests.peers.gateway import Gateway
from tests.peers.programs import require, run

SYSTEM_TESTS = Path(__file__).parents[1] / "system"
RECIPIENT = "ann@rcpt.test"

Client = Callable[[Gateway, str], None]


def octets_of(gateway: Gateway, text: str) -> bytes:
    """A small message with this text."""
    lines = (f"From: {gateway.mailbox}", f"To: {RECIPIENT}", f"Subject: {text}", "", text, "")
    return "\r\n".join(lines).encode()


def swaks(
    gateway: Gateway, text: str, *, method: str, is_implicit: bool = False, user: str = ""
) -> None:
    require("swaks")
    ports = gateway.ports
    port = ports.submissions if is_implicit else ports.submission
    run(
        *("swaks", "--server", "localhost", "-4", "--port", str(port)),
        *("--tls-on-connect" if is_implicit else "--tls", "--tls-verify"),
        *("--tls-ca-path", gateway.certificates.ca),
        *("--auth", method, "--auth-user", user or gateway.mailbox),
        *("--auth-password", gateway.token),
        *("--from", gateway.mailbox, "--to", RECIPIENT),
        *("--header", f"Subject: {text}", "--body", text),
    )


def smtplib_starttls(gateway: Gateway, text: str) -> None:
    context = ssl.create_default_context(cafile=str(gateway.certificates.ca))
    with smtplib.SMTP("127.0.0.1", gateway.ports.submission) as client:
        client.starttls(context=context)
        client.login(gateway.mailbox, gateway.token)
        client.sendmail(gateway.mailbox, [RECIPIENT], octets_of(gateway, text))


def smtplib_implicit(gateway: Gateway, text: str) -> None:
    send_octets(gateway, octets_of(gateway, text))


def send_octets(gateway: Gateway, octets: bytes, *, options: tuple[str, ...] = ()) -> None:
    """These octets as they are, over implicit TLS."""
    context = ssl.create_default_context(cafile=str(gateway.certificates.ca))
    with smtplib.SMTP_SSL("127.0.0.1", gateway.ports.submissions, context=context) as client:
        client.login(gateway.mailbox, gateway.token)
        client.sendmail(gateway.mailbox, [RECIPIENT], octets, mail_options=options)


def nodemailer(gateway: Gateway, text: str, *, is_implicit: bool = False) -> None:
    require("node", "npm")
    _install_nodemailer()
    ports = gateway.ports
    wish = {
        "port": ports.submissions if is_implicit else ports.submission,
        "secure": is_implicit,
        "user": gateway.mailbox,
        "password": gateway.token,
        "method": "LOGIN" if is_implicit else "PLAIN",
        "ca": str(gateway.certificates.ca),
        "from": gateway.mailbox,
        "to": RECIPIENT,
        "subject": text,
        "text": text,
    }
    run("node", SYSTEM_TESTS / "nodemailer_send.mjs", stdin=json.dumps(wish).encode())


def _install_nodemailer() -> None:
    """What package-lock.json pins, once, whichever test worker comes first."""
    with (SYSTEM_TESTS / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (SYSTEM_TESTS / "node_modules" / "nodemailer").exists():
            run(
                *("npm", "ci", "--prefix", SYSTEM_TESTS),
                *("--ignore-scripts", "--no-audit", "--no-fund"),
                within_s=100,
            )


def curl_smtp(gateway: Gateway, text: str, *, is_implicit: bool = False) -> None:
    require("curl")
    url = gateway.smtps_url if is_implicit else gateway.smtp_url
    run(
        *("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", gateway.certificates.ca),
        *("--url", f"{url}/client.test", "--user", f"{gateway.mailbox}:{gateway.token}"),
        *("--mail-from", gateway.mailbox, "--mail-rcpt", RECIPIENT, "--upload-file", "-"),
        stdin=octets_of(gateway, text),
    )


def curl_http(gateway: Gateway, text: str) -> None:
    require("curl")
    run(
        *("curl", "--silent", "--show-error", "--fail-with-body"),
        *("-H", f"Authorization: Bearer {gateway.token}", "-H", "Content-Type: application/json"),
        *("--data", json.dumps({"to": RECIPIENT, "subject": text, "text": text})),
        f"{gateway.http_url}/api/v1/messages/send",
    )


def msmtp(gateway: Gateway, text: str) -> None:
    require("msmtp")
    file = gateway.directory / "msmtprc"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as settings:
        settings.write(
            "account default\n"
            f"host localhost\nport {gateway.ports.submission}\n"
            f"tls on\ntls_starttls on\ntls_trust_file {gateway.certificates.ca}\n"
            f"auth plain\nuser {gateway.mailbox}\npassword {gateway.token}\n"
            f"from {gateway.mailbox}\n"
        )
    run("msmtp", "--file", file, "--", RECIPIENT, stdin=octets_of(gateway, text))
