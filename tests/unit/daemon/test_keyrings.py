"""daemon.keyrings: how long an old key of a purpose is needed, and who gets the new ones."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from gatewayd.config.tree import Config
from gatewayd.daemon import keyrings
from gatewayd.daemon.build import linking, returning
from gatewayd.daemon.keyrings import KeyUsers
from gatewayd.domains.service import Domains
from gatewayd.errors import KeyFileError, Refused
from gatewayd.keys import files
from gatewayd.keys.ring import Purpose
from gatewayd.keys.service import PHASES, Keys
from gatewayd.mailboxes.accounts import Mailboxes
from gatewayd.store.database import Database
from gatewayd.tokens.service import Tokens
from tests.fakes.clock import NOW, ManualClock

IDENT = "01936f1e-0000-7000-8000-000000000001"


class Unused:
    """A room that keys of VERP and tracking have nothing to do with."""

    def use(self, ring: object) -> None:
        raise AssertionError(ring)


@dataclass(frozen=True, slots=True)
class Rotation:
    """Key files, and who uses them."""

    config: Config
    clock: ManualClock
    users: KeyUsers
    keys: Keys

    def write_at(self, purpose: Purpose, at: dt.datetime) -> None:
        """Let the file have been written then."""
        file = self.config.keys_directory / f"{purpose.value}.keys"
        os.utime(file, (at.timestamp(), at.timestamp()))


def _rotation(directory: Path, clock: ManualClock, *, domain: str | None) -> Rotation:
    bounces = {"domain": domain, "postmaster": "op@example.com", "verp_days": 10} if domain else {}
    config = Config.model_validate(
        {
            "daemon": {"hostname": "mail.example.com", "state_dir": str(directory)},
            "bounces": bounces,
            "http": {"public_url": "https://mail.example.com"},
        }
    )
    for purpose in Purpose:
        files.create(config.keys_directory, purpose, now=clock.now())
    rings = keyrings.read(config)
    unused = Unused()
    users = KeyUsers(
        tokens=cast("Tokens", unused),
        mailboxes=cast("Mailboxes", unused),
        domains=cast("Domains", unused),
        reverse_paths=returning(config, rings.verp, clock),
        links=linking(config, rings.tracking),
    )
    nowhere = cast("Database", None)  # no row is sealed under these keys
    return Rotation(config, clock, users, keyrings.rotating(config, nowhere, users, clock))


@pytest.fixture
def rotation(tmp_path: Path) -> Rotation:
    return _rotation(tmp_path, ManualClock(), domain="bounces.example.com")


async def test_old_verp_key_is_needed_as_long_as_its_addresses_live(rotation: Rotation) -> None:
    """From the switch on, which is when the file was last written: weeks after `begin`, here."""
    await rotation.keys.rotate(Purpose.VERP, "begin")
    switched_at = NOW + dt.timedelta(days=30)
    rotation.clock.advance(seconds=30 * 86_400)
    await rotation.keys.rotate(Purpose.VERP, "switch")
    rotation.write_at(Purpose.VERP, switched_at)

    rotation.clock.advance(seconds=10 * 86_400 - 1)
    with pytest.raises(Refused, match="1 still need the old key"):
        await rotation.keys.rotate(Purpose.VERP, "finish")
    rotation.clock.advance(seconds=1)
    done = await rotation.keys.rotate(Purpose.VERP, "finish")

    assert [state for _, state in done.keys] == ["active"]


async def test_file_that_looks_old_does_not_end_the_wait(rotation: Rotation) -> None:
    """It was copied with an old time: the active key itself says when it was made."""
    rotation.clock.advance(seconds=86_400)
    await rotation.keys.rotate(Purpose.VERP, "begin")
    await rotation.keys.rotate(Purpose.VERP, "switch")
    rotation.write_at(Purpose.VERP, NOW - dt.timedelta(days=365))

    rotation.clock.advance(seconds=10 * 86_400 - 1)
    with pytest.raises(Refused):
        await rotation.keys.rotate(Purpose.VERP, "finish")


async def test_reverse_paths_of_before_are_read_until_the_end(rotation: Rotation) -> None:
    """And the new ones from the moment of the switch."""
    paths = rotation.users.reverse_paths
    assert paths is not None
    before = paths.make(IDENT).address
    for phase in ("begin", "switch"):
        await rotation.keys.rotate(Purpose.VERP, phase)
    after = paths.make(IDENT).address
    assert before is not None
    assert after is not None

    assert before.local_part != after.local_part
    assert [paths.read(one.local_part) for one in (before, after)] == [IDENT, IDENT]


async def test_without_a_bounce_domain_no_old_key_is_needed(tmp_path: Path) -> None:
    """No address was ever made."""
    rotation = _rotation(tmp_path, ManualClock(), domain=None)
    done = [await rotation.keys.rotate(Purpose.VERP, phase) for phase in PHASES]

    assert len(done[-1].keys) == 1


async def test_old_tracking_key_may_go_when_the_operator_says_so(rotation: Rotation) -> None:
    """Links in mail never end, so nothing but a person can say when they may."""
    done = [await rotation.keys.rotate(Purpose.TRACKING, phase) for phase in PHASES]

    assert len(done[-1].keys) == 1


@pytest.mark.parametrize("purpose", Purpose)
def test_missing_file_is_never_replaced_in_silence(rotation: Rotation, purpose: Purpose) -> None:
    """The error says what to do."""
    (rotation.config.keys_directory / f"{purpose.value}.keys").unlink()

    with pytest.raises(KeyFileError, match=f"{purpose.value}.keys is missing: `gatewayd db init`"):
        keyrings.read(rotation.config)
