"""Config back to TOML, as `config show` prints it; it loads to an equal Config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gatewayd.config.tree import Config


def render(config: Config) -> str:
    """Every key with its value in force. No secret is in it: secrets are in files of their own."""
    return "\n".join(_table("", config.model_dump(mode="json"))).strip() + "\n"


def literal(value: object) -> str:
    """A value in TOML. JSON's strings, numbers, booleans and lists are TOML too."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    # DEL is legal in a JSON string, and in no string of TOML.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table(name: str, table: dict[str, Any]) -> Iterator[str]:
    inner = {key: value for key, value in table.items() if _is_table(value)}
    for key, value in table.items():
        if key not in inner and value is not None:
            yield f"{key} = {literal(value)}"
    for key, value in inner.items():
        path = f"{name}.{key}" if name else key
        tables = value if isinstance(value, list) else [value]
        header = f"[[{path}]]" if isinstance(value, list) else f"[{path}]"
        for each in tables:
            yield ""
            yield header
            yield from _table(path, each)


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )
