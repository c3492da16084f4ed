"""Every metric in one table: name, labels, unit, meaning.

The table is the body of `Metrics.__init__`, one line each; docs/metrics.md explains them to
operators. Names are public and never change. A label has few values, all known here: no address,
domain or id is ever one.

There is one Metrics per daemon, built in daemon/build.py, with a registry of its own, so that two
daemons can live in one process.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from gatewayd import __version__

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_LONG_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1500)
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# The label `reason` of outbound_messages_failed_total: the subject of the status (RFC 3463 3).
_SUBJECTS: Final = {
    "1": "address",
    "2": "mailbox",
    "3": "system",
    "4": "network",
    "5": "protocol",
    "6": "content",
    "7": "policy",
}


class _Reply(Protocol):
    @property
    def status(self) -> object: ...


class Metrics:
    """What the daemon counts and times."""

    def __init__(self) -> None:
        # A time of creation beside each series is twice the text, and no use.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it untyped
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self.build_info = self._gauge("gatewayd_build_info", "Always 1; the version.", "version")
        self.build_info.labels(version=__version__).set(1)
        self._accepting()
        self._delivering()
        self._returning()
        self._running()

    def _accepting(self) -> None:
        count, gauge, times = self._counter, self._gauge, self._histogram
        self.smtp_sessions = gauge("smtp_sessions", "SMTP connections open now.")
        self.smtp_connections_refused = count(
            "smtp_connections_refused_total", "SMTP connections turned away by a limit."
        )
        self.smtp_timeouts = count("smtp_timeouts_total", "SMTP sessions ended by a deadline.")
        self.smtp_auth_failures = count("smtp_auth_failures_total", "Logins refused over SMTP.")
        self.smtp_unacked_commit = count(
            "smtp_unacked_commit_total",
            "Messages stored whose client had gone before it could read the 250.",
        )
        self.submissions = count(
            "submissions_total", "Submissions by door and verdict.", "door", "code"
        )
        self.accept_seconds = times(
            "accept_duration_seconds", "From a whole submission to its commit.", _SECONDS, "door"
        )
        self._accepted: dict[str, tuple[Counter, Histogram]] = {}
        self.outbound_messages_enqueued = count(
            "outbound_messages_enqueued_total", "Recipients accepted."
        )
        self.intake_set_size = times(
            "intake_set_size", "Submissions decided and stored together.", _SIZES
        )

    def _delivering(self) -> None:
        count, gauge, times = self._counter, self._gauge, self._histogram
        self.outbound_messages_sent = count(
            "outbound_messages_sent_total", "Recipients the next hop has accepted."
        )
        self.outbound_messages_failed = count(
            "outbound_messages_failed_total", "Recipients given up, by reason.", "reason"
        )
        for reason in (*_SUBJECTS.values(), "other", "expired"):
            self.outbound_messages_failed.labels(reason=reason)  # 0 from the start, for rate()
        self.outbound_messages_deferred = count(
            "outbound_messages_deferred_total",
            "Attempts that ended with a later try, by recipient.",
        )
        self.outbound_in_doubt = count(
            "outbound_in_doubt_total", "Recipients whose final dot was never answered."
        )
        self.outbound_notices = count(
            "outbound_notices_total", "Reports to submitters that were put into the queue."
        )
        self.outbound_messages_unsigned = count(
            "outbound_messages_unsigned_total", "Messages sent without DKIM, for want of a key."
        )
        self.smtp_delivery_duration_seconds = times(
            "smtp_delivery_duration_seconds", "One attempt, with its outcome.", _LONG_SECONDS
        )
        self.queue_depth = gauge("queue_depth", "Recipients waiting or being delivered.")
        self.queue_oldest_age_seconds = gauge(
            "queue_oldest_age_seconds", "Age of the oldest recipient that is due and not taken."
        )

    def _returning(self) -> None:
        count = self._counter
        self.outbound_messages_bounced = count(
            "outbound_messages_bounced_total", "Recipients that came back, by class.", "type"
        )
        for klass in ("permanent", "transient", "unknown"):
            self.outbound_messages_bounced.labels(type=klass)
        self.bounce_reports = count("bounce_reports_total", "Reports and complaints taken in.")
        self.bounce_rejected = count(
            "bounce_rejected_total", "Returned messages refused, or not recognised."
        )
        self.bounce_suppressions = count(
            "bounce_suppressions_total", "Addresses suppressed by a report or a reply."
        )
        self.tracking_opens = count("tracking_opens_total", "First opens.")
        self.tracking_clicks = count("tracking_clicks_total", "First clicks.")
        self.tracking_machine = count(
            "tracking_machine_total", "First opens and clicks by machines.", "kind"
        )
        for kind in ("open", "click"):
            self.tracking_machine.labels(kind=kind)
        self.tracking_events_dropped = count(
            "tracking_events_dropped_total",
            "Opens and clicks lost for want of room, or at the end.",
        )
        self.tracking_requests_refused = count(
            "tracking_refused_total", "Requests of recipients over their rate.", "kind"
        )
        for kind in ("track", "unsubscribe"):
            self.tracking_requests_refused.labels(kind=kind)

    def _running(self) -> None:
        count, times = self._counter, self._histogram
        self.loop_lag_seconds = times(
            "loop_lag_seconds", "How late the event loop ran what was due.", _SECONDS
        )
        self.store_group_size = times(
            "store_group_size", "Units of work committed together.", _SIZES
        )
        self.store_commit_seconds = times(
            "store_commit_duration_seconds",
            "One transaction of the writer, until it is on stable storage.",
            _SECONDS,
        )
        self.memory_short = self._gauge(
            "memory_short", "1 while no new work is taken for want of memory."
        )
        self.log_events_dropped = count(
            "log_events_dropped_total", "Log events lost because standard error was stuck."
        )
        self.config_reloads = count(
            "config_reloads_total", "SIGHUP, by result: applied, refused.", "result"
        )

    def submission_accepted(self, door: str, *, recipients: int, seconds: float) -> None:
        """Count a submission that was stored, and how long its client waited for that."""
        bound = self._accepted.get(door)
        if bound is None:  # looked up once: labels() costs more than to count
            accepted = self.submissions.labels(door=door, code="accepted")
            bound = self._accepted[door] = (accepted, self.accept_seconds.labels(door=door))
        bound[0].inc()
        self.outbound_messages_enqueued.inc(recipients)
        bound[1].observe(seconds)

    def submission_replayed(self, door: str) -> None:
        """Count an answer that was given again for the same idempotency key."""
        self.submissions.labels(door=door, code="replayed").inc()

    def submission_refused(self, door: str, code: str) -> None:
        """Count a refusal by its word, one of errors.Code."""
        self.submissions.labels(door=door, code=code).inc()

    def group_committed(self, works: int, seconds: float) -> None:
        """One transaction of the writer: how many works, and how long it took with its commit."""
        self.store_group_size.observe(works)
        self.store_commit_seconds.observe(seconds)

    def recipients_in_doubt(self, recipients: int) -> None:
        """Count recipients that a crash or a stop left behind their marker."""
        self.outbound_in_doubt.inc(recipients)

    def attempt_ended(self, *, seconds: float, outcomes: Collection[object]) -> None:
        """Count the outcomes of one attempt, values of mail/outcome.py, once they are durable."""
        self.smtp_delivery_duration_seconds.observe(seconds)
        for outcome in outcomes:
            # By name: the floors put mail above this module.
            match type(outcome).__name__:
                case "Delivered":
                    self.outbound_messages_sent.inc()
                case "Deferred":
                    self.outbound_messages_deferred.inc()
                case "Failed":
                    self.outbound_messages_failed.labels(reason=_reason(outcome)).inc()
                case "InDoubt":
                    self.outbound_in_doubt.inc()

    def message_unsigned(self) -> None:
        self.outbound_messages_unsigned.inc()

    def submitters_notified(self, reports: int) -> None:
        """Count reports to submitters (NOTIFY) that were put into the queue."""
        self.outbound_notices.inc(reports)

    def recipients_expired(self, recipients: int) -> None:
        """Count recipients whose tries or time are spent."""
        self.outbound_messages_failed.labels(reason="expired").inc(recipients)

    def recipients_withheld(self, recipients: int) -> None:
        """Count recipients that were suppressed while they waited, and so not tried."""
        self.outbound_messages_failed.labels(reason="policy").inc(recipients)

    def report_taken(self) -> None:
        """Count a report or complaint, once what it says is durable; replays too."""
        self.bounce_reports.inc()

    def report_rejected(self) -> None:
        """Count a returned message that was refused, or not recognised."""
        self.bounce_rejected.inc()

    def recipient_bounced(self, klass: str) -> None:
        """Count a recipient that came back; permanent, transient or unknown."""
        self.outbound_messages_bounced.labels(type=klass).inc()

    def recipients_proved(self, recipients: int) -> None:
        """Count recipients in doubt of which a report says that the next hop has them."""
        self.outbound_messages_sent.inc(recipients)

    def addresses_suppressed(self, addresses: int) -> None:
        """Count addresses that a report or a reply has put on the list."""
        self.bounce_suppressions.inc(addresses)

    def tracked(self, kind: str, *, by_machine: bool) -> None:
        """Count a first `open` or `click`, once it is durable."""
        if by_machine:
            self.tracking_machine.labels(kind=kind).inc()
        else:
            (self.tracking_opens if kind == "open" else self.tracking_clicks).inc()

    def tracking_dropped(self, events: int) -> None:
        self.tracking_events_dropped.inc(events)

    def tracking_refused(self, kind: str) -> None:
        """Count a request of a recipient that was answered 429; `track` or `unsubscribe`."""
        self.tracking_requests_refused.labels(kind=kind).inc()

    def render(self) -> bytes:
        """All of them as text of the Prometheus exposition format 0.0.4."""
        return generate_latest(self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, meaning, labels, registry=self.registry, buckets=buckets)


def _reason(failed: object) -> str:
    """The label of a Failed: the subject of its status, or `other`."""
    reply: _Reply | None = getattr(failed, "reply", None)
    status = getattr(failed, "status", None) or (reply and reply.status)
    parts = str(status or "").split(".")
    return _SUBJECTS.get(parts[1], "other") if len(parts) == 3 else "other"
