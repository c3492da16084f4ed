"""Memory: what a daemon that does nothing has not loaded, and the soft limit."""

from __future__ import annotations

import re
import smtplib
import urllib.error
from pathlib import Path

import pytest

from tests.fakes.smtp_sink import SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.waiting import eventually
from tests.peers.web import fetch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SOON_S = 20.0

# MiB each: alembic 7, rich 4, typer with our commands 2.4, jinja2 2.4, crawleruseragents 2.
HEAVY = frozenset(
    {
        "aioimaplib",
        "alembic",
        "crawleruseragents",
        "httpx2",
        "jinja2",
        "psycopg",
        "pygments",
        "rich.console",
        "typer",
    }
)


def answers(gateway: Gateway) -> tuple[int, int, int]:
    """What a new SMTP client, a new HTTP client and a load balancer are told."""
    try:
        with smtplib.SMTP("127.0.0.1", gateway.ports.plain, timeout=10) as client:
            smtp = client.noop()[0]
    except smtplib.SMTPConnectError as refused:
        smtp = refused.smtp_code
    http, _ = gateway.post("/api/v1/messages/send", {"to": "ann@rcpt.test", "text": "x"})
    try:
        fetch(f"http://127.0.0.1:{gateway.ports.metrics}/readyz", within_s=10)
    except urllib.error.HTTPError as refused:
        with refused:
            return smtp, http, refused.code
    return smtp, http, 200


def test_above_the_soft_limit_no_new_work_is_taken(tmp_path: Path) -> None:
    """421 4.3.2 and 503 and not ready; mail that is there already goes on."""
    with (
        SmtpSink() as sink,
        Gateway(
            tmp_path,
            smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
        ) as gateway,
    ):
        gateway.prepare()
        text = gateway.config_file.read_text()
        gateway.start()
        assert answers(gateway) == (250, 202, 200)
        eventually(lambda: len(sink.copies) == 1, within_s=SOON_S, what=gateway.tail)
        assert gateway.stop() == 0
        gateway.config_file.write_text(text + "\n[limits]\nresident_octets = 1000000\n")
        gateway.start(is_awaited=False)

        eventually(
            lambda: len(gateway.logged("daemon_started")) == 2,
            within_s=SOON_S,
            what=gateway.tail,
        )
        eventually(lambda: gateway.logged("memory_short"), within_s=SOON_S, what=gateway.tail)

        assert answers(gateway) == (421, 503, 503)
        assert gateway.metric("memory_short") == 1
        assert gateway.stop() == 0


def test_an_idle_daemon_has_loaded_nothing_heavy_that_it_does_not_use(tmp_path: Path) -> None:
    """What only an upgrade, a tracked recipient, a terminal or another database needs."""
    with Gateway(tmp_path, is_public=True, bounces="bounces.sender.test") as gateway:
        gateway.prepare()

        gateway.start(environment={"PYTHONPROFILEIMPORTTIME": "1"})

        text = gateway.log_file.read_text()
        loaded = set(re.findall(r"^import time: [^|]+\|[^|]+\| +([\w.]+)$", text, re.MULTILINE))
        assert "sqlalchemy" in loaded
        assert set() == loaded & HEAVY
        assert gateway.stop() == 0
