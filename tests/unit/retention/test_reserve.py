"""retention.reserve: kept in good times, given up in bad ones."""

from pathlib import Path

from gatewayd.retention.reserve import NAME, Reserve

_OCTETS = 65_536


def test_reserve_is_made_when_there_is_space(tmp_path: Path) -> None:
    """It takes real blocks, not a hole, and only its owner may read it."""
    reserve = Reserve(tmp_path, _OCTETS)

    assert reserve.keep(free_octets=3 * _OCTETS)
    found = (tmp_path / NAME).stat()
    assert (found.st_size, found.st_blocks * 512 >= _OCTETS, found.st_mode & 0o777) == (
        _OCTETS, True, 0o600,
    )  # fmt: skip


def test_reserve_is_not_made_of_the_last_octets(tmp_path: Path) -> None:
    """To keep it must not be what fills the disk."""
    reserve = Reserve(tmp_path, _OCTETS)

    assert not reserve.keep(free_octets=2 * _OCTETS - 1)
    assert not (tmp_path / NAME).exists()


def test_reserve_is_given_up_once_when_the_disk_is_full(tmp_path: Path) -> None:
    """Then it is gone until there is space again."""
    reserve = Reserve(tmp_path, _OCTETS)
    reserve.tend(free_octets=10 * _OCTETS)

    assert reserve.tend(free_octets=100)
    assert not reserve.tend(free_octets=100)
    assert not reserve.is_kept
    assert not reserve.tend(free_octets=10 * _OCTETS)
    assert reserve.is_kept
