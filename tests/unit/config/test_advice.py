"""config.advice: what is warned of, one test for each side."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayd.config.advice import advise
from gatewayd.config.check import check
from gatewayd.config.listeners import HttpSection, TlsSection
from gatewayd.config.process import DaemonSection
from gatewayd.config.storage import RetentionSection
from gatewayd.config.tree import Config

URL = "https://mail.example.com"
PROXIED = HttpSection(public_url=URL, trusted_proxies=("127.0.0.1",))


def doubted(**sections: object) -> list[str]:
    """The keys that are warned of in a configuration without mistakes."""
    whole = {
        "daemon": DaemonSection(hostname="mail.example.com"),
        "tls": TlsSection(certificate=Path("/c"), private_key=Path("/k")),
        **sections,
    }
    config = Config.model_validate(whole)
    assert check(config) == []
    return [problem.key for problem in advise(config)]


def test_nothing_is_said_of_the_default() -> None:
    """Nor of the usual way to be reached: a proxy on the same machine that is trusted."""
    assert doubted() == []
    assert doubted(http=PROXIED) == []


@pytest.mark.parametrize(
    ("http", "found"),
    [
        (HttpSection(public_url=URL), ["http.trusted_proxies"]),
        (HttpSection(public_url=URL, tls=True), []),
        (HttpSection(public_url="http://127.0.0.1:8080"), []),
    ],
)
def test_https_that_somebody_else_speaks_wants_a_trusted_proxy(
    http: HttpSection, found: list[str]
) -> None:
    """Else every recipient has the address of the proxy, and one limit holds for all."""
    assert found == doubted(http=http)


@pytest.mark.parametrize(
    ("seconds", "found"), [(3_024_000, []), (3_023_999, ["retention.messages_s"])]
)
def test_a_link_to_leave_by_works_for_30_days_after_the_last_attempt(
    seconds: float, found: list[str]
) -> None:
    """The attempt may be 5 days after acceptance; without links nothing is to be kept for."""
    retention = RetentionSection(messages_s=seconds)

    assert found == doubted(http=PROXIED, retention=retention)
    assert doubted(retention=retention) == []
