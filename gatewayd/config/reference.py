"""Every key by its dotted name, with its default: for docs, `config show` and error messages."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel

from gatewayd.config.render import literal
from gatewayd.config.tree import Config
from gatewayd.config.types import Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the file. `default` is TOML; None where a key is required or has no value."""

    description: str
    default: str | None
    is_required: bool


@functools.cache
def keys() -> Mapping[str, Key]:
    """All keys in the order of the file; those of a list of tables have no index."""
    return dict(_keys("", Config))


def _keys(prefix: str, section: type[BaseModel]) -> Iterator[tuple[str, Key]]:
    for name, field in section.model_fields.items():
        inner = _section_in(field.annotation)
        if inner is not None:
            yield from _keys(f"{prefix}{name}.", inner)
            continue
        required = field.is_required()
        default = None if required else _default(section, name, field.get_default())
        yield (
            f"{prefix}{name}",
            Key(description=field.description or "", default=default, is_required=required),
        )


def _default(section: type[BaseModel], name: str, value: object) -> str | None:
    fields: dict[str, Any] = {name: value}
    dumped = section.model_construct(**fields).model_dump(mode="json", include={name})
    return None if dumped[name] is None else literal(dumped[name])


def _section_in(annotation: object) -> type[Section] | None:
    """The section of `X`, `X | None` or `tuple[X, ...]`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None
