"""metrics: names are public, labels are few, every one is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Outcome, Released
from gatewayd.mail.reply import Reply
from gatewayd.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
PROMISED = {
    "outbound_messages_enqueued_total",
    "outbound_messages_sent_total",
    "outbound_messages_failed_total",
    "outbound_messages_bounced_total",
    "outbound_in_doubt_total",
    "smtp_delivery_duration_seconds",
    "queue_depth",
    "queue_oldest_age_seconds",
    "tracking_opens_total",
    "tracking_clicks_total",
    "bounce_reports_total",
    "bounce_rejected_total",
    "bounce_suppressions_total",
}


def names(metrics: Metrics) -> set[str]:
    """The names as they are queried: counters with _total."""
    families = text_string_to_metric_families(metrics.render().decode())
    own = [family for family in families if not family.name.startswith("process_")]
    return {f"{f.name}_total" if f.type == "counter" else f.name for f in own}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_promised_names_exist() -> None:
    """Dashboards are built on them."""
    assert names(Metrics()) >= PROMISED


def test_docs_list_every_metric_and_no_other() -> None:
    """docs/metrics.md is the whole list."""
    documented = set(re.findall(r"^\| `(\w+)` \|", DOCS.read_text(), re.MULTILINE))

    assert names(Metrics()) == documented


def test_two_daemons_count_apart() -> None:
    """There is no registry of the process."""
    one, other = Metrics(), Metrics()
    one.smtp_timeouts.inc()

    assert value(one, "smtp_timeouts_total") == 1
    assert value(other, "smtp_timeouts_total") == 0


@pytest.mark.parametrize(
    ("outcome", "name", "labels"),
    [
        (Delivered(Reply(250, None, "ok")), "outbound_messages_sent_total", {}),
        (Deferred("busy"), "outbound_messages_deferred_total", {}),
        (InDoubt("silence"), "outbound_in_doubt_total", {}),
        (Failed("x", status="5.6.7"), "outbound_messages_failed_total", {"reason": "content"}),
        (
            Failed("x", Reply.parse([b"550 5.1.1 no such user"])),
            "outbound_messages_failed_total",
            {"reason": "address"},
        ),
        (
            Failed("x", Reply(554, None, "no")),
            "outbound_messages_failed_total",
            {"reason": "other"},
        ),
    ],
)
def test_outcome_is_counted(outcome: Outcome, name: str, labels: dict[str, str]) -> None:
    """Each outcome of an attempt has its metric; a failure is told by the subject of its status."""
    metrics = Metrics()
    metrics.attempt_ended(seconds=0.2, outcomes=[outcome, outcome])

    assert metrics.registry.get_sample_value(name, labels) == 2
    assert value(metrics, "smtp_delivery_duration_seconds_count") == 1


def test_released_recipients_are_not_counted() -> None:
    """They were not tried."""
    metrics = Metrics()
    before = {
        name: value(metrics, f"outbound_messages_{name}_total") for name in ("sent", "deferred")
    }
    metrics.attempt_ended(seconds=0.2, outcomes=[Released("shutdown")])

    after = {name: value(metrics, f"outbound_messages_{name}_total") for name in before}
    assert before == after


def test_expired_recipients_are_failed_ones() -> None:
    """Spent by count or age."""
    metrics = Metrics()
    metrics.recipients_expired(3)

    assert value(metrics, "outbound_messages_failed_total", reason="expired") == 3


def test_text_is_prometheus_format() -> None:
    """Every metric has a help line, and no sample of creation times."""
    text = Metrics().render().decode()

    assert "_created" not in text
    assert "# HELP queue_depth Recipients waiting or being delivered." in text
