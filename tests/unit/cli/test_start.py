"""cli.start: the words that start a daemon, and those that typer has to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayd.cli.start import CONFIG, daemon_file


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["serve"], CONFIG),
        (["serve", "-c", "/srv/mail.toml"], Path("/srv/mail.toml")),
        (["serve", "--config", "/srv/mail.toml"], Path("/srv/mail.toml")),
        (["-c", "/srv/mail.toml", "serve"], None),
        (["serve", "--config=/srv/mail.toml"], None),
        (["serve", "--help"], None),
        (["serve", "-c"], None),
        (["serve", "-c", "--help"], None),
        (["serve", "-c", "/srv/mail.toml", "more"], None),
        (["status"], None),
        ([], None),
    ],
)
def test_only_plain_words_start_a_daemon_without_typer(words: list[str], file: Path | None) -> None:
    """What is left to typer means the same there, and is said wrong by it where it is wrong."""
    assert file == daemon_file(words)
