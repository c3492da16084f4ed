"""Rules across keys and sections.

| rule                | says                                                                       |
|---------------------|----------------------------------------------------------------------------|
| listener_names      | every listener has a name of its own                                       |
| ports               | no two listeners want the same address and port                            |
| auth_needs_tls      | AUTH in plaintext only on a loopback bind that asks for it                 |
| certificate         | whoever speaks TLS has a certificate and its key                           |
| public_url          | links to recipients are https; plaintext is for loopback                   |
| bounces             | the domain of reverse-paths has a postmaster                               |
| http_exposure       | the API leaves loopback with TLS or behind a trusted proxy only            |
| control_socket      | the path of the operators' socket fits into a socket address               |
| postgres            | its driver is installed; password_file is for it alone                     |
| smarthost           | plaintext to loopback only; user and password go together                  |
| leases              | a claim outlasts its attempt, and leaves time for the reply to the dot     |
| concurrency         | what is started with is not more than the most                             |
| sizes               | a header section fits into a message                                       |
| lifetimes           | the usual lifetime of a token is not above the longest                     |
| retention           | a message is kept while reports about it are believed                      |

Each rule names the sections it reads, so that a file with mistakes in other sections is still
checked by it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from gatewayd.config.delivery import TlsMode
from gatewayd.config.listeners import ListenerTls
from gatewayd.config.problems import MISSING, shown
from gatewayd.config.storage import DAY_S
from gatewayd.config.tree import Config
from gatewayd.config.types import Bind, is_loopback
from gatewayd.errors import ConfigProblem

SOCKET_PATH_OCTETS = 107  # sun_path of unix(7) is 108 with its final NUL
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, and the sections it reads."""

    find: Callable[[Config], Iterable[ConfigProblem]]
    sections: frozenset[str]


def check(config: Config, rules: Sequence[Rule] | None = None) -> list[ConfigProblem]:
    """Every problem that the rules find, in their order."""
    chosen = RULES if rules is None else rules
    return [
        replace(problem, value=shown(problem.key, problem.value))
        for rule in chosen
        for problem in rule.find(config)
    ]


def _listener_names(config: Config) -> Iterator[ConfigProblem]:
    seen: set[str] = {"http", "metrics", "bounces"}
    for index, listener in enumerate(config.submission):
        if listener.name in seen:
            yield ConfigProblem(
                key=f"submission[{index}].name",
                value=listener.name,
                expected="a name that no other listener has (http, metrics and bounces are taken)",
            )
        seen.add(listener.name)


def _ports(config: Config) -> Iterator[ConfigProblem]:
    binds = [
        (f"submission[{index}].bind", listener.bind)
        for index, listener in enumerate(config.submission)
    ]
    binds.append(("http.bind", config.http.bind))
    if config.metrics.bind is not None:
        binds.append(("metrics.bind", config.metrics.bind))
    if config.bounces.domain is not None:
        binds.append(("bounces.bind", config.bounces.bind))
    for index, (key, bind) in enumerate(binds):
        for other_key, other in binds[:index]:
            if _collide(bind, other):
                yield ConfigProblem(
                    key=key,
                    value=str(bind),
                    expected=f"a port that {other_key} ({other}) does not use",
                )
                break


def _collide(one: Bind, other: Bind) -> bool:
    if one.port != other.port or one.port == 0:
        return False
    if one.host == other.host:
        return True
    same_family = (":" in one.host) == (":" in other.host)
    return same_family and (one.host in _WILDCARDS or other.host in _WILDCARDS)


def _auth_needs_tls(config: Config) -> Iterator[ConfigProblem]:
    for index, listener in enumerate(config.submission):
        if listener.auth_without_tls and not listener.bind.is_loopback:
            yield ConfigProblem(
                key=f"submission[{index}].auth_without_tls",
                value=True,
                expected=f"false: {listener.bind} can be reached from other machines, and tokens "
                'would cross the network in plaintext; or bind = "127.0.0.1:PORT"',
            )
        elif listener.tls is ListenerTls.NONE and not listener.auth_without_tls:
            yield ConfigProblem(
                key=f"submission[{index}].tls",
                value="none",
                expected='"starttls" or "implicit": nobody can log in without TLS; on a loopback '
                "bind, auth_without_tls = true allows it",
            )


def _certificate(config: Config) -> Iterator[ConfigProblem]:
    users = [
        f"submission[{index}] ({listener.bind}, {listener.tls})"
        for index, listener in enumerate(config.submission)
        if listener.tls is not ListenerTls.NONE
    ]
    if config.http.tls:
        users.append(f"http ({config.http.bind})")
    certificate, private_key = config.tls.certificate, config.tls.private_key
    if certificate is not None and private_key is not None:
        return
    if certificate is None and private_key is None:
        if users:
            live = f"/etc/letsencrypt/live/{config.daemon.hostname}"
            yield ConfigProblem(
                key="tls.certificate",
                value=MISSING,
                expected=f"a certificate for {' and '.join(users)}. Get one by `certbot certonly "
                f"--standalone -d {config.daemon.hostname}`, then set certificate = "
                f'"{live}/fullchain.pem" and private_key = "{live}/privkey.pem" in [tls]. To try '
                "gatewayd out, `gatewayd localserve` makes its own",
            )
        return
    key = "tls.private_key" if private_key is None else "tls.certificate"
    yield ConfigProblem(key=key, value=MISSING, expected="certificate and private_key together")


def _http_exposure(config: Config) -> Iterator[ConfigProblem]:
    http = config.http
    if not (http.bind.is_loopback or http.tls or http.trusted_proxies):
        yield ConfigProblem(
            key="http.bind",
            value=str(http.bind),
            expected="a loopback address such as 127.0.0.1, or tls = true, or the proxy that "
            "speaks TLS in trusted_proxies: tokens would cross the network in plaintext",
        )


def _public_url(config: Config) -> Iterator[ConfigProblem]:
    url = urlsplit(config.http.public_url)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        yield ConfigProblem(
            key="http.public_url",
            value=config.http.public_url,
            expected="https: one-click unsubscribe works over https only (RFC 8058 3.1); let a "
            "proxy speak TLS, or set tls = true",
        )


def _bounces(config: Config) -> Iterator[ConfigProblem]:
    bounces = config.bounces
    if bounces.domain is not None and bounces.postmaster is None:
        yield ConfigProblem(
            key="bounces.postmaster",
            value=MISSING,
            expected=f"an address of yours: postmaster@{bounces.domain} must be read by somebody "
            "(RFC 5321 4.5.1)",
        )
    if bounces.domain is None and bounces.postmaster is not None:
        yield ConfigProblem(
            key="bounces.domain",
            value=MISSING,
            expected="the domain whose MX is this machine, or no postmaster either",
        )


def _control_socket(config: Config) -> Iterator[ConfigProblem]:
    path = str(config.control_socket)
    if len(path.encode()) > SOCKET_PATH_OCTETS:
        yield ConfigProblem(
            key="daemon.run_dir",
            value=str(config.daemon.run_dir),
            expected=f"a shorter path: {path} has more than {SOCKET_PATH_OCTETS} octets, "
            "and a socket cannot have such a name",
        )


def _postgres(config: Config) -> Iterator[ConfigProblem]:
    database = config.database
    if database.is_sqlite:
        if database.password_file is not None:
            yield ConfigProblem(
                key="database.password_file",
                value=str(database.password_file),
                expected="no password with sqlite: leave it out, or set database.url to PostgreSQL",
            )
    elif importlib.util.find_spec("psycopg") is None:
        yield ConfigProblem(
            key="database.url",
            value=database.url,
            expected="sqlite, or PostgreSQL's driver: pip install 'gatewayd[postgres]'",
        )


def _smarthost(config: Config) -> Iterator[ConfigProblem]:
    smarthost = config.delivery.smarthost
    if smarthost is None:
        return
    if smarthost.tls_mode is TlsMode.NONE_ON_LOOPBACK and not is_loopback(smarthost.host):
        yield ConfigProblem(
            key="delivery.smarthost.tls_mode",
            value=str(smarthost.tls_mode),
            expected=f'"starttls_required" or "implicit": {smarthost.host} is another machine',
        )
    if (smarthost.user is None) != (smarthost.password_file is None):
        absent = "user" if smarthost.user is None else "password_file"
        yield ConfigProblem(
            key=f"delivery.smarthost.{absent}",
            value=MISSING,
            expected="user and password_file together, or neither for a relay without AUTH",
        )


def _leases(config: Config) -> Iterator[ConfigProblem]:
    delivery = config.delivery
    if delivery.lease_s <= delivery.attempt_s:
        yield ConfigProblem(
            key="delivery.lease_s",
            value=delivery.lease_s,
            expected=f"more than attempt_s ({delivery.attempt_s:g}): another worker would take "
            "the mail while it is being sent",
        )
    least = delivery.dot_margin_s + delivery.renew_s
    if delivery.lease_s < least:
        yield ConfigProblem(
            key="delivery.lease_s",
            value=delivery.lease_s,
            expected=f"at least {least:g}: renew_s ({delivery.renew_s:g}) and "
            f"{delivery.dot_margin_s:g} seconds that wait for the reply to the final dot",
        )


def _concurrency(config: Config) -> Iterator[ConfigProblem]:
    delivery = config.delivery
    if delivery.concurrency_start > delivery.concurrency_max:
        yield ConfigProblem(
            key="delivery.concurrency_start",
            value=delivery.concurrency_start,
            expected=f"at most concurrency_max ({delivery.concurrency_max})",
        )
    if delivery.claim_messages > delivery.ready_recipients:
        yield ConfigProblem(
            key="delivery.claim_messages",
            value=delivery.claim_messages,
            expected=f"at most ready_recipients ({delivery.ready_recipients})",
        )


def _sizes(config: Config) -> Iterator[ConfigProblem]:
    limits = config.limits
    if limits.header_octets > limits.message_octets:
        yield ConfigProblem(
            key="limits.header_octets",
            value=limits.header_octets,
            expected=f"at most message_octets ({limits.message_octets})",
        )


def _lifetimes(config: Config) -> Iterator[ConfigProblem]:
    tokens = config.tokens
    if tokens.lifetime_s > tokens.max_lifetime_s:
        yield ConfigProblem(
            key="tokens.lifetime_s",
            value=tokens.lifetime_s,
            expected=f"at most max_lifetime_s ({tokens.max_lifetime_s:g})",
        )


def _retention(config: Config) -> Iterator[ConfigProblem]:
    bounces, kept_s = config.bounces, config.retention.messages_s
    least = bounces.verp_days * DAY_S + config.delivery.retry.max_age_s
    if bounces.domain is not None and kept_s < least:
        yield ConfigProblem(
            key="retention.messages_s",
            value=kept_s,
            expected=f"at least {least:.15g}: a report may come bounces.verp_days "
            f"({bounces.verp_days}) after hand-over, and that delivery.retry.max_age_s "
            f"({config.delivery.retry.max_age_s:.15g}) after acceptance, and is refused when its "
            "message is forgotten; or fewer verp_days",
        )


RULES = (
    Rule(_listener_names, frozenset({"submission"})),
    Rule(_ports, frozenset({"submission", "http", "metrics", "bounces"})),
    Rule(_auth_needs_tls, frozenset({"submission"})),
    Rule(_certificate, frozenset({"daemon", "submission", "http", "tls"})),
    Rule(_http_exposure, frozenset({"http"})),
    Rule(_public_url, frozenset({"http"})),
    Rule(_bounces, frozenset({"bounces"})),
    Rule(_control_socket, frozenset({"daemon"})),
    Rule(_postgres, frozenset({"database"})),
    Rule(_smarthost, frozenset({"delivery"})),
    Rule(_leases, frozenset({"delivery"})),
    Rule(_concurrency, frozenset({"delivery"})),
    Rule(_sizes, frozenset({"limits"})),
    Rule(_lifetimes, frozenset({"tokens"})),
    Rule(_retention, frozenset({"retention", "bounces", "delivery"})),
)
