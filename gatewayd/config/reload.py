"""What SIGHUP may change: the difference of two Configs.

| key                                         | takes effect                                       |
|---------------------------------------------|----------------------------------------------------|
| daemon.*                                    | at the next start: names and directories in use    |
| submission, http.*, metrics.*               | at the next start: open sockets                    |
| limits.http_body_octets, header_octets,     | at the next start: given to the HTTP API once      |
|   batch_messages, token_octets,             |                                                    |
|   resident_octets                           |                                                    |
| database.*, keys.*, storage.*, tokens.*,    | at the next start: given to their rooms once       |
|   retention.messages_s                      |                                                    |
| bounces.*, suppression.*, tracking.*        | at the next start: given to their rooms once       |
| delivery.*, except smarthost                | at the next start: claims and attempts count on it |
| everything else                             | at once, for sessions and attempts that begin      |

The certificate, the key files and the password files are read again even if no key changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.config.delivery import DeliverySection
from gatewayd.config.tree import Config

RESTART: Final = (
    "daemon",
    "submission",
    "http",
    "metrics",
    "limits.http_body_octets",
    "limits.header_octets",
    "limits.batch_messages",
    "limits.token_octets",
    "limits.resident_octets",
    "database",
    "storage",
    "retention.messages_s",
    *(f"delivery.{name}" for name in DeliverySection.model_fields if name != "smarthost"),
    "bounces",
    "suppression",
    "tracking",
    "tokens",
    "keys",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What differs. `changed` takes effect now; `needs_restart` does not until the next start."""

    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


def difference(old: Config, new: Config) -> Reload:
    """The keys whose values differ, in the order of the tree."""
    before, after = dict(_leaves("", old.model_dump())), dict(_leaves("", new.model_dump()))
    keys = [
        key for key in {**before, **after} if before.get(key, _ABSENT) != after.get(key, _ABSENT)
    ]
    return Reload(
        changed=tuple(key for key in keys if not _needs_restart(key)),
        needs_restart=tuple(key for key in keys if _needs_restart(key)),
    )


def in_force(old: Config, new: Config) -> Config:
    """The configuration after a reload: `new`, but for what waits for the next start."""
    sections: dict[str, Any] = {}
    for name in RESTART:
        section, _, key = name.partition(".")
        if not key:
            sections[section] = getattr(old, section)
            continue
        kept = getattr(getattr(old, section), key)
        sections[section] = sections.get(section, getattr(new, section)).model_copy(
            update={key: kept}
        )
    return new.model_copy(update=sections)


_ABSENT: Final = object()


def _needs_restart(key: str) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}[")) for name in RESTART)


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, object]]:  # noqa: ANN401 - a dumped tree
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{prefix}.{name}" if prefix else name, inner)
    elif isinstance(value, tuple) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _leaves(f"{prefix}[{index}]", inner)
    else:
        yield prefix, value
