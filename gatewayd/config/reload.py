"""What SIGHUP may change: the difference of two Configs.

| key                                         | takes effect                                       |
|---------------------------------------------|----------------------------------------------------|
| daemon.*, except shutdown_s                 | at the next start: names and directories in use    |
| submission, http.bind, http.tls             | at the next start: open sockets                    |
| http.connections, keep_alive_s, ...         | at the next start: given to the HTTP server once   |
| metrics.bind                                | at the next start: an open socket                  |
| database.*, keys.directory                  | at the next start: open files and connections      |
| delivery.signing_threads                    | at the next start: running threads                 |
| storage.reserve_octets                      | at the next start: a file that exists              |
| everything else                             | at once, for sessions and attempts that begin      |

The certificate, the key files and the password files are read again even if no key changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.config.tree import Config

RESTART: Final = (
    "daemon.hostname",
    "daemon.state_dir",
    "daemon.run_dir",
    "submission",
    "http",
    "metrics",
    "database",
    "keys",
    "delivery.signing_threads",
    "storage.reserve_octets",
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
