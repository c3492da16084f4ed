"""config.render: a Config as TOML, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayd.config.load import load, parse
from gatewayd.config.render import render

CONF = Path(__file__).parents[3] / "conf"


@pytest.mark.parametrize("file", sorted(CONF.glob("*.toml")), ids=lambda file: file.stem)
def test_rendered_config_loads_to_the_same(file: Path) -> None:
    """What `config show` prints can be used as a file."""
    config = load(file, {})

    assert config == parse(render(config), environment={})


def test_empty_and_odd_values_survive() -> None:
    """No listener, no quota, a network list, quotes in a text."""
    text = """submission = []
[daemon]
hostname = "mail.example.com"
[http]
trusted_proxies = ["10.0.0.0/8", "::1"]
[tokens]
default_daily = "unlimited"
issuer = "a \\"b\\" \\\\ ü \\u007f"
"""
    config = parse(text, environment={})

    assert config == parse(render(config), environment={})
    assert config.tokens.default_daily is None
