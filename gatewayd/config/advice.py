"""Advice: what a file may say, and is seldom meant to. `config check` and the log warn of it.

| advice         | warns of                                                                       |
|----------------|--------------------------------------------------------------------------------|
| unseen_clients | a proxy before HTTP that is not trusted: all clients have its address          |
| short_links    | messages forgotten while a link to leave by must still work                    |

What cannot be right is a rule of `check.py` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from gatewayd.config.problems import shown
from gatewayd.config.storage import DAY_S
from gatewayd.config.tree import Config
from gatewayd.errors import ConfigProblem

LEAVING_S: Final = 30 * DAY_S  # after the mail was sent: 15 U.S.C. 7704(a)(3)(A)(ii)


def advise(config: Config) -> list[ConfigProblem]:
    """What to look at again in a configuration without mistakes."""
    return [
        replace(problem, value=shown(problem.key, problem.value))
        for find in ADVICE
        for problem in find(config)
    ]


def _unseen_clients(config: Config) -> Iterator[ConfigProblem]:
    http = config.http
    is_behind_proxy = urlsplit(http.public_url).scheme == "https" and not http.tls
    if is_behind_proxy and not http.trusted_proxies:
        yield ConfigProblem(
            key="http.trusted_proxies",
            value=[],
            expected="the address of the proxy that speaks TLS for "
            f'{http.public_url}, such as ["127.0.0.1"]: without it all recipients have the '
            "proxy's address, and share its tracking.requests_per_minute",
        )


def _short_links(config: Config) -> Iterator[ConfigProblem]:
    kept_s, last_try_s = config.retention.messages_s, config.delivery.retry.max_age_s
    if config.http.public_url and kept_s < LEAVING_S + last_try_s:
        yield ConfigProblem(
            key="retention.messages_s",
            value=kept_s,
            expected=f"at least {LEAVING_S + last_try_s:.15g}: a link to unsubscribe by works as "
            "long as its message is kept, and should work for 30 days (as CAN-SPAM wants it) "
            f"after the last attempt, which may be {last_try_s:.15g} seconds "
            "(delivery.retry.max_age_s) after acceptance",
        )


ADVICE: Final[tuple[Callable[[Config], Iterable[ConfigProblem]], ...]] = (
    _unseen_clients,
    _short_links,
)
