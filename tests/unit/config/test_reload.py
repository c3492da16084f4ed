"""config.reload: what a SIGHUP changes, and what waits for a start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gatewayd.config.load import parse
from gatewayd.config.reference import keys
from gatewayd.config.reload import RESTART, Reload, difference, in_force
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
        ("[delivery.retry]\nfirst_s = 1", Reload(needs_restart=("delivery.retry.first_s",))),
        ("[delivery]\nidle_s = 1", Reload(needs_restart=("delivery.idle_s",))),
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
    known = {
        *keys(),
        *(part for name in keys() for part in (name.split(".")[0], name.rpartition(".")[0])),
    }

    assert [name for name in RESTART if name in known] == list(RESTART)


def test_in_force_keeps_what_waits_for_a_start() -> None:
    """All that `needs_restart` names stays; all that `changed` names is new."""
    more = (
        "[limits]\nrecipients = 5\ntoken_octets = 9000\n[tokens]\nleeway_s = 1\n"
        '[delivery]\nidle_s = 1\n[delivery.smarthost]\nhost = "smtp.example.net"\n'
        "[retention]\nmessages_s = 1\nidempotency_s = 90000\n"
    )
    old, new = config(), config(more)
    found = in_force(old, new)

    assert difference(found, new).needs_restart == difference(old, new).needs_restart
    assert difference(found, new).changed == ()
    assert difference(old, found).changed == difference(old, new).changed
    assert difference(old, found).needs_restart == ()


def test_docs_mark_the_keys_that_need_a_restart() -> None:
    """The R of docs/config.md is the table of this module."""
    table, marked = "", set()
    for line in (Path(__file__).parents[3] / "docs/config.md").read_text().splitlines():
        if header := re.fullmatch(r"## \[+([a-z.]+)\]+", line):
            table = header[1]
        elif row := re.match(r"\| `([a-z_]+)` \| .+? \| \*\*R\*\* \|", line):
            marked.add(f"{table}.{row[1]}")

    assert marked == {
        key for key in keys() if key.startswith(tuple(f"{n}." for n in RESTART)) or key in RESTART
    }
