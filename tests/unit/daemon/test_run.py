"""daemon.run: what is said at the start."""

from __future__ import annotations

from structlog.testing import capture_logs

from gatewayd.config.listeners import HttpSection
from gatewayd.config.process import DaemonSection
from gatewayd.config.tree import Config
from gatewayd.daemon.run import _warn_of


def test_what_a_configuration_is_seldom_meant_to_say_is_in_the_log() -> None:
    """As `config check` says it: key, value, and what to do."""
    http = HttpSection(public_url="https://mail.example.com")
    with capture_logs() as logged:
        _warn_of(Config(daemon=DaemonSection(hostname="mail.example.com"), http=http))

    (warning,) = logged
    assert (warning["event"], warning["log_level"]) == ("config_doubtful", "warning")
    assert (warning["key"], warning["value"]) == ("http.trusted_proxies", "[]")
    assert "the proxy" in warning["want"]
