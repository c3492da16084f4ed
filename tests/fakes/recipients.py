"""What the URLs of recipients stand on: real links, a recorder and unsubscribes that remember."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from starlette.types import ASGIApp

from gatewayd.ids import RecipientId
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.metrics import Metrics
from gatewayd.tracking.links import Links
from gatewayd.tracking.opens import Request
from gatewayd.tracking.unsubscribe import How
from gatewayd.web.app import RecipientParts, create_api_app
from tests.fakes.clock import NOW, ManualClock
from tests.fakes.http_api import FakeApi

BASE = "https://gw.example"
BOB = RecipientId("01936f1e-0000-7000-8000-000000000001")
CAT = RecipientId("01936f1e-0000-7000-8000-000000000002")
URL = "https://www.example.org/shop?id=1&name=caf%C3%A9#top"


@dataclass
class FakeRecorder:
    """Opens and clicks, in the order in which they came."""

    opens: list[tuple[RecipientId, Request]] = field(default_factory=list)
    clicks: list[tuple[RecipientId, Request, str]] = field(default_factory=list)

    def opened(self, recipient_id: RecipientId, request: Request) -> None:
        self.opens.append((recipient_id, request))

    def clicked(self, recipient_id: RecipientId, request: Request, url: str) -> None:
        self.clicks.append((recipient_id, request, url))


@dataclass
class FakeUnsubscribes:
    """Knows some recipients, or does not answer."""

    known: frozenset[RecipientId] = frozenset({BOB, CAT})
    fails_with: Exception | None = None
    left: list[tuple[RecipientId, How]] = field(default_factory=list)

    async def leave(self, recipient_id: RecipientId, how: How) -> bool:
        if self.fails_with is not None:
            raise self.fails_with
        if recipient_id not in self.known:
            return False
        self.left.append((recipient_id, how))
        return True


@dataclass
class FakeRecipients:
    """All of it, as `create_api_app` takes it."""

    per_minute: int = 120
    clock: ManualClock = field(default_factory=ManualClock)
    metrics: Metrics = field(default_factory=Metrics)
    recorder: FakeRecorder = field(default_factory=FakeRecorder)
    unsubscribes: FakeUnsubscribes = field(default_factory=FakeUnsubscribes)
    links: Links = field(
        default_factory=lambda: Links(new_ring(Purpose.TRACKING, created_at=NOW), BASE)
    )

    @property
    def parts(self) -> RecipientParts:
        return RecipientParts(
            links=self.links,
            recorder=self.recorder,
            unsubscribes=self.unsubscribes,
            requests_per_minute=self.per_minute,
            clock=self.clock,
            metrics=self.metrics,
        )

    @functools.cached_property
    def app(self) -> ASGIApp:
        """The API's application with these."""
        return create_api_app(FakeApi().parts, recipients=self.parts)

    def refused(self, kind: str) -> float:
        """How many requests were over their rate."""
        labels = {"kind": kind}
        return self.metrics.registry.get_sample_value("tracking_refused_total", labels) or 0

    @property
    def seen(self) -> int:
        return len(self.recorder.opens) + len(self.recorder.clicks)
