"""config.reload: what a SIGHUP changes, and what waits for a start."""

from __future__ import annotations

import pytest

from gatewayd.config.load import parse
from gatewayd.config.reference import keys
from gatewayd.config.reload import RESTART, Reload, difference
from gatewayd.config.tree import Config

BASE = '[daemon]\nhostname = "mail.example.com"\n[tls]\ncertificate = "/c"\nprivate_key = "/k"\n'


def config(more: str = "") -> Config:
    return parse(BASE + more, environment={})


def test_equal_configs_change_nothing() -> None:
    """A SIGHUP for the sake of the certificate."""
    assert Reload() == difference(config(), config())


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('[log]\nlevel = "debug"', Reload(changed=("log.level",))),
        ("[limits]\nrecipients = 5", Reload(changed=("limits.recipients",))),
        ("[delivery.retry]\nfirst_s = 1", Reload(changed=("delivery.retry.first_s",))),
        ("[database]\nreaders = 3", Reload(needs_restart=("database.readers",))),
        ('[metrics]\nbind = ""', Reload(needs_restart=("metrics.bind",))),
        (
            '[http]\nbind = "127.0.0.1:8081"\n[log]\nformat = "console"',
            Reload(changed=("log.format",), needs_restart=("http.bind",)),
        ),
    ],
)
def test_difference_names_the_keys(more: str, expected: Reload) -> None:
    """Each key by its dotted name, on the side of the table it stands on."""
    assert expected == difference(config(), config(more))


def test_listener_that_came_or_went_needs_a_restart() -> None:
    """Sockets are opened at the start only."""
    more = '[[submission]]\nname = "submission"\n'

    found = difference(config(), config(more))

    assert found.changed == ()
    assert "submission[1].name" in found.needs_restart


def test_smarthost_that_came_is_a_change() -> None:
    """A section that was absent is compared as a whole."""
    found = difference(config(), config('[delivery.smarthost]\nhost = "smtp.example.net"\n'))

    assert found.needs_restart == ()
    assert "delivery.smarthost.host" in found.changed


def test_every_key_that_needs_a_restart_exists() -> None:
    """The table names no key that was renamed."""
    known = [*keys(), *(name.partition(".")[0] for name in keys())]

    assert [name for name in RESTART if name in known] == list(RESTART)
