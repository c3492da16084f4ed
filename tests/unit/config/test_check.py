"""config.check: one test per rule; the wrong side of each is in tests/corpus/bad-config."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gatewayd.config.check import check
from gatewayd.config.delivery import DeliverySection, SmarthostSection, TlsMode
from gatewayd.config.listeners import HttpSection, ListenerTls, SubmissionListener, TlsSection
from gatewayd.config.process import DaemonSection, MetricsSection
from gatewayd.config.returns import BouncesSection
from gatewayd.config.storage import DatabaseSection, RetentionSection
from gatewayd.config.tree import Config
from gatewayd.config.types import Bind

CERTIFICATE = TlsSection(certificate=Path("/c"), private_key=Path("/k"))
DAEMON = DaemonSection(hostname="mail.example.com")


def keys_at_fault(**sections: object) -> list[str]:
    config = Config.model_validate({"daemon": DAEMON, "tls": CERTIFICATE, **sections})
    return [problem.key for problem in check(config)]


def listener(
    name: str, bind: str, *, tls: ListenerTls = ListenerTls.STARTTLS
) -> SubmissionListener:
    return SubmissionListener(
        name=name,
        bind=Bind.parse(bind),
        tls=tls,
        auth_without_tls=tls is ListenerTls.NONE and "127" in bind,
    )


def test_default_config_with_a_certificate_is_right() -> None:
    """A name and a certificate are enough."""
    assert keys_at_fault() == []


def test_loopback_listener_without_tls_needs_no_certificate() -> None:
    """`auth_without_tls` on loopback is for tests and null clients of the same machine."""
    plain = listener("local", "127.0.0.1:587", tls=ListenerTls.NONE)

    assert keys_at_fault(submission=(plain,), tls=TlsSection()) == []


def test_no_listener_at_all_needs_no_certificate() -> None:
    """HTTP on loopback alone is a use."""
    assert keys_at_fault(submission=(), tls=TlsSection()) == []


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("0.0.0.0:587", "0.0.0.0:587", True),
        ("0.0.0.0:587", "192.0.2.1:587", True),
        ("192.0.2.1:587", "192.0.2.2:587", False),
        ("0.0.0.0:587", "[::]:587", False),
        ("[::]:587", "[::1]:587", True),
        ("0.0.0.0:587", "0.0.0.0:465", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_ports_clash_within_a_family_only(one: str, other: str, *, clash: bool) -> None:
    """A wildcard takes the port of every address of its family; port 0 is never the same."""
    faults = keys_at_fault(submission=(listener("a", one), listener("b", other)))

    assert (["submission[1].bind"] if clash else []) == faults


@pytest.mark.parametrize(
    "http",
    [
        HttpSection(bind=Bind("192.0.2.1", 443), tls=True),
        HttpSection(bind=Bind("192.0.2.1", 8080), trusted_proxies=("10.0.0.1",)),
        HttpSection(bind=Bind("::1", 8080)),
    ],
)
def test_http_leaves_loopback_with_tls_or_behind_a_proxy(http: HttpSection) -> None:
    """Each of the two guards is enough."""
    assert keys_at_fault(http=http) == []


def test_metrics_can_be_off() -> None:
    """An absent listener clashes with nothing."""
    assert keys_at_fault(metrics=MetricsSection(bind=None)) == []


def test_smarthost_on_loopback_may_do_without_tls() -> None:
    """A relay on the same machine."""
    smarthost = SmarthostSection(host="localhost", port=25, tls_mode=TlsMode.NONE_ON_LOOPBACK)

    assert keys_at_fault(delivery=DeliverySection(smarthost=smarthost)) == []


def test_lease_that_just_covers_the_dot_is_right() -> None:
    """renew_s and dot_timeout_s and ten seconds."""
    assert keys_at_fault(delivery=DeliverySection(lease_s=670, attempt_s=600)) == []
    assert keys_at_fault(delivery=DeliverySection(lease_s=669, attempt_s=600)) == [
        "delivery.lease_s"
    ]


def test_postgres_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings it is in the message."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    config = Config(
        daemon=DAEMON, tls=CERTIFICATE, database=DatabaseSection(url="postgresql://u@h/d")
    )

    (problem,) = check(config)

    assert problem.key == "database.url"
    assert "pip install 'gatewayd[postgres]'" in problem.expected


BOUNCES = BouncesSection(domain="bounces.example.com", postmaster="ops@example.com")


@pytest.mark.parametrize(("seconds", "found"), [(1_641_600, []), (1_641_599, ["messages_s"])])
def test_messages_outlive_the_reports_that_are_believed(seconds: float, found: list[str]) -> None:
    """14 days for the report, and 5 days until the last attempt, both by default."""
    retention = RetentionSection(messages_s=seconds)

    assert keys_at_fault(retention=retention) == []
    assert [f"retention.{key}" for key in found] == keys_at_fault(
        retention=retention, bounces=BOUNCES
    )


def test_fewer_days_of_reports_allow_a_shorter_retention() -> None:
    """The text names both ways out."""
    retention = RetentionSection(messages_s=6 * 86_400)
    bounces = BOUNCES.model_copy(update={"verp_days": 1})

    assert keys_at_fault(retention=retention, bounces=bounces) == []
    config = Config(daemon=DAEMON, tls=CERTIFICATE, bounces=BOUNCES, retention=retention)
    (problem,) = check(config)
    assert "at least 1641600" in problem.expected
    assert "fewer verp_days" in problem.expected
