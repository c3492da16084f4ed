"""What the operator API stands on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gatewayd.bounces.pipeline import Bounces
from gatewayd.config.delivery import NextHop
from gatewayd.domains.service import Domains
from gatewayd.keys.service import Keys
from gatewayd.mailboxes.accounts import Mailboxes
from gatewayd.queue.inspect import Inspector
from gatewayd.suppression.importing import Importer
from gatewayd.suppression.lists import Suppressions
from gatewayd.suppression.reading import SuppressionReader
from gatewayd.tokens.service import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminParts:
    """The services, and what only the daemon knows.

    report_octets: of a message for `bounces`; more of it is not read.
    check_next_hop: really connect and log in; TLS facts, or GatewayError with what went wrong.
    reload: as SIGHUP does; None where nothing runs that could be reloaded.
    status: facts about this process.
    """

    mailboxes: Mailboxes
    tokens: Tokens
    suppressions: Suppressions
    suppression_reader: SuppressionReader
    importer: Importer
    domains: Domains
    keys: Keys
    inspector: Inspector
    bounces: Bounces
    report_octets: int
    check_next_hop: Callable[[NextHop], Awaitable[str]]
    reload: Callable[[], dict[str, Any]] | None
    status: Callable[[], Awaitable[dict[str, Any]]]
