"""Config: every section, and the paths that follow from them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gatewayd.config.delivery import DeliverySection
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.listeners import (
    DEFAULT_SUBMISSION,
    HttpSection,
    SubmissionListener,
    TlsSection,
)
from gatewayd.config.process import DaemonSection, LogSection, MetricsSection
from gatewayd.config.returns import BouncesSection, SuppressionSection, TrackingSection
from gatewayd.config.security import KeysSection, TokensSection
from gatewayd.config.storage import DatabaseSection, RetentionSection, StorageSection
from gatewayd.config.types import Section


class Config(Section):
    """The whole file."""

    daemon: DaemonSection
    submission: tuple[SubmissionListener, ...] = Field(
        default=DEFAULT_SUBMISSION, description="Listeners for SMTP; [] for none."
    )
    tls: TlsSection = TlsSection()
    http: HttpSection = HttpSection()
    metrics: MetricsSection = MetricsSection()
    limits: LimitsSection = LimitsSection()
    timeouts: TimeoutsSection = TimeoutsSection()
    database: DatabaseSection = DatabaseSection()
    storage: StorageSection = StorageSection()
    retention: RetentionSection = RetentionSection()
    delivery: DeliverySection = DeliverySection()
    bounces: BouncesSection = BouncesSection()
    suppression: SuppressionSection = SuppressionSection()
    tracking: TrackingSection = TrackingSection()
    tokens: TokensSection = TokensSection()
    keys: KeysSection = KeysSection()
    log: LogSection = LogSection()

    @property
    def database_file(self) -> Path:
        return self.daemon.state_dir / "gatewayd.db"

    @property
    def spool_directory(self) -> Path:
        return self.daemon.state_dir / "spool"

    @property
    def keys_directory(self) -> Path:
        return self.keys.directory or self.daemon.state_dir / "keys"

    @property
    def control_socket(self) -> Path:
        return self.daemon.run_dir / "control.sock"
