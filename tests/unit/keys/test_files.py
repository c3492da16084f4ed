"""keys.files: reading, refusing and replacing key files."""

from __future__ import annotations

import base64
import datetime as dt
import os
import stat
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.errors import KeyFileError
from gatewayd.keys import rotate
from gatewayd.keys.files import create, is_present, load, save
from gatewayd.keys.ring import KIDS, Key, KeyRing, KeyState, Purpose

SECRET = base64.urlsafe_b64encode(bytes(range(224, 256))).decode()
TIME = "2026-11-21T09:30:00+00:00"
GOOD = f"a active {SECRET} {TIME}\n"


def write(directory: Path, text: str, mode: int = 0o600) -> Path:
    """A key file for tokens."""
    path = directory / "jwt.keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_created_ring_reads_back(tmp_path: Path, now: dt.datetime) -> None:
    """The directory is made too; file 0600, directory 0700, nothing else left there."""
    directory = tmp_path / "state" / "keys"
    assert not is_present(directory, Purpose.JWT)

    ring = create(directory, Purpose.JWT, now=now)

    assert is_present(directory, Purpose.JWT)
    assert load(directory, Purpose.JWT) == ring
    assert ring.active.created_at == now
    assert [path.name for path in directory.iterdir()] == ["jwt.keys"]
    assert stat.S_IMODE((directory / "jwt.keys").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_create_never_replaces_a_file(tmp_path: Path, now: dt.datetime) -> None:
    """A lost key is data that cannot be read again."""
    path = write(tmp_path, "even if it is broken")

    with pytest.raises(KeyFileError, match="exists already"):
        create(tmp_path, Purpose.JWT, now=now)

    assert path.read_text() == "even if it is broken"
    assert list(tmp_path.iterdir()) == [path]


def test_saved_rotation_reads_back(tmp_path: Path, now: dt.datetime) -> None:
    """Every state of a key, in order."""
    ring = create(tmp_path, Purpose.VERP, now=now)
    for step in (rotate.begin(ring, now=now), rotate.switch(rotate.begin(ring, now=now))):
        save(step, tmp_path)
        assert load(tmp_path, Purpose.VERP) == step

    assert [path.name for path in tmp_path.iterdir()] == ["verp.keys"]
    assert stat.S_IMODE((tmp_path / "verp.keys").stat().st_mode) == 0o600


def test_file_by_hand_reads(tmp_path: Path) -> None:
    """Comments, blank lines, padding or none, another zone."""
    unpadded = f"b\told {SECRET.rstrip('=')}  2026-11-20T10:30:00+01:00"
    write(tmp_path, f"# ours\n\n{GOOD}{unpadded}", mode=0o400)

    ring = load(tmp_path, Purpose.JWT)

    assert [key.kid for key in ring.readable] == ["a", "b"]
    assert ring.active.secret == bytes(range(224, 256))
    assert ring.old[0].created_at == dt.datetime(2026, 11, 20, 9, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644, 0o620])
def test_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Exit 77, and the text is the command that mends it."""
    path = write(tmp_path, GOOD, mode)

    with pytest.raises(KeyFileError, match=f"chmod 600 {path}") as caught:
        load(tmp_path, Purpose.JWT)

    assert caught.value.exit_code == 77


def test_credential_goes_before_the_directory(tmp_path: Path, now: dt.datetime) -> None:
    """Systemd shows the group bit of its access control list, and guards the directory."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    ours = create(tmp_path, Purpose.JWT, now=now)
    assert load(tmp_path, Purpose.JWT, credentials) == ours

    path = write(credentials, GOOD, mode=0o440)

    assert load(tmp_path, Purpose.JWT, credentials).active.secret == bytes(range(224, 256))
    assert load(tmp_path, Purpose.JWT) == ours
    assert is_present(tmp_path / "nowhere", Purpose.JWT, credentials)
    path.chmod(0o444)
    with pytest.raises(KeyFileError, match="chmod"):
        load(tmp_path, Purpose.JWT, credentials)


def test_credential_is_never_written(tmp_path: Path, now: dt.datetime) -> None:
    """A rotation that the next start would not see is refused."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    write(credentials, GOOD)
    ring = load(tmp_path, Purpose.JWT, credentials)

    with pytest.raises(KeyFileError, match="systemd credential"):
        save(rotate.begin(ring, now=now), tmp_path, credentials)

    assert not (tmp_path / "jwt.keys").exists()


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """It is never made in silence by reading."""
    with pytest.raises(KeyFileError, match="missing") as caught:
        load(tmp_path, Purpose.JWT)

    assert caught.value.exit_code == 78
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("unreadable", ["directory", "credential"])
def test_path_that_is_no_file_is_refused(tmp_path: Path, unreadable: str) -> None:
    """Such as a directory by that name."""
    (tmp_path / "jwt.keys").mkdir(mode=0o700)
    credentials = tmp_path if unreadable == "credential" else None

    with pytest.raises(KeyFileError, match=r"cannot read .*jwt\.keys"):
        load(tmp_path, Purpose.JWT, credentials)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a active", "four words"),
        (f"{GOOD.strip()} more", "four words"),
        (f"a current {SECRET} {TIME}", "second word one of next, active, old"),
        (f"aa active {SECRET} {TIME}", "first word a key id"),
        (f"{SECRET} active a {TIME}", "third word 32 octets"),
        (f"a active {SECRET[:-4]} {TIME}", "third word 32 octets"),
        (f"a active {SECRET}AAAA {TIME}", "third word 32 octets"),
        (f"a active {SECRET.replace('_', '/')} {TIME}", "third word 32 octets"),
        (f"a active {SECRET} {SECRET}", "fourth word a time with a zone"),
        (f"a active {SECRET} 2026-11-21T09:30:00", "fourth word a time with a zone"),
        (f"a active {SECRET} 0001-01-01T00:00:00+14:00", "fourth word a time with a zone"),
        (f"a {SECRET} active {TIME}", "second word one of"),
    ],
)
def test_malformed_line_is_named_and_not_repeated(tmp_path: Path, line: str, expected: str) -> None:
    """File, line and what is expected; the secret is not in the message or its traceback."""
    path = write(tmp_path, f"# comment\n{line}\n")

    with pytest.raises(KeyFileError) as caught:
        load(tmp_path, Purpose.JWT)

    text = "".join(traceback.format_exception(caught.value))
    assert f"{path}:2: expected" in str(caught.value)
    assert expected in str(caught.value)
    assert SECRET[:8] not in text
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "one active key"),
        (GOOD.replace("active", "old"), "one active key"),
        (GOOD + GOOD.replace("a active", "b active"), "one active key"),
        (GOOD + GOOD.replace("active", "old"), "once"),
        ("\u00e4", "ASCII"),
        ("#" * 70_000, "at most"),
    ],
)
def test_malformed_file_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """What is wrong with the whole names the file."""
    path = write(tmp_path, text)

    with pytest.raises(KeyFileError, match=expected) as caught:
        load(tmp_path, Purpose.JWT)

    assert str(path) in str(caught.value)


def test_create_makes_the_file_durable_before_it_is_there(
    tmp_path: Path, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File fsync, link, fsync of the directory; nothing half written ever has the name."""
    seen: list[tuple[str, bool]] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        seen.append((kind, (tmp_path / "jwt.keys").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)

    create(tmp_path, Purpose.JWT, now=now)

    assert seen == [("file", False), ("directory", True)]


def test_failed_save_leaves_the_old_ring(
    tmp_path: Path, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs no key."""
    ring = create(tmp_path, Purpose.JWT, now=now)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(KeyFileError, match="No space left"):
        save(rotate.begin(ring, now=now), tmp_path)

    assert load(tmp_path, Purpose.JWT) == ring
    assert [path.name for path in tmp_path.iterdir()] == ["jwt.keys"]


times = st.datetimes(
    min_value=dt.datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=dt.datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(dt.UTC),
)


@st.composite
def rings(draw: st.DrawFn) -> KeyRing:
    """Any ring that may be."""
    kids = draw(st.lists(st.sampled_from(KIDS), min_size=1, max_size=5, unique=True))
    states = [KeyState.ACTIVE, draw(st.sampled_from([KeyState.NEXT, KeyState.OLD]))]
    states += [KeyState.OLD] * 3
    keys = [
        Key(
            kid=kid,
            state=state,
            secret=draw(st.binary(min_size=32, max_size=32)),
            created_at=draw(times),
        )
        for kid, state in zip(kids, states, strict=False)
    ]
    return KeyRing(purpose=Purpose.TRACKING, keys=tuple(draw(st.permutations(keys))))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ring=rings())
def test_any_ring_reads_back(tmp_path: Path, ring: KeyRing) -> None:
    """Every octet, time and state."""
    save(ring, tmp_path)

    assert load(tmp_path, Purpose.TRACKING) == ring


pieces = st.sampled_from(
    ["a", "b", "active", "old", "next", SECRET, TIME, " ", "\t", "\n", "\r", "#"]
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(pieces, max_size=20).map("".join) | st.text(max_size=99))
def test_any_text_is_a_ring_or_a_key_file_error(tmp_path: Path, text: str) -> None:
    """Nothing else comes out, and the secret is not repeated."""
    path = tmp_path / "jwt.keys"
    path.write_bytes(text.encode())
    path.chmod(0o600)

    said = ""
    try:
        load(tmp_path, Purpose.JWT)
    except KeyFileError as error:
        said = "".join(traceback.format_exception(error))

    assert SECRET not in said
