"""The trace field: write it, count hops (RFC 5321 4.4).

```
from HELO ([PEER]) by BY with PROTOCOL (TLS version) id QUEUE-ID
 for <FORWARD-PATH> tls CIPHER-SUITE; DATE
```

| keyword of `with`            | when                                             | source   |
|------------------------------|--------------------------------------------------|----------|
| ESMTP, +S with TLS, +A AUTH  | EHLO was said                                    | RFC 3848 |
| UTF8SMTP, +S, +A             | MAIL had SMTPUTF8                                | RFC 6531 4.3 |
| HTTP                         | submitted over our API                           | (none)   |

The `tls` clause is RFC 8314 4.3; it takes names of IANA cipher suites only, so the OpenSSL name of
an older suite stands in the comment instead.
"""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import re

from gatewayd.mail.address import ForwardPath
from gatewayd.mail.header import HeaderSection, format_date

_NOT_HELO = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_NOT_COMMENT = re.compile(r"[^A-Za-z0-9._: -]")
_ATOM = re.compile(r"[A-Za-z0-9-]{1,64}")
_IANA_CIPHER = re.compile(r"TLS_[A-Z0-9_]{1,64}")
_MAX_HELO = 255


def write(  # noqa: PLR0913 - these are the clauses of the field
    *,
    by: str,
    helo: str,
    peer: str,
    protocol: str,
    tls: str,
    queue_id: str,
    for_: ForwardPath | None,
    at: dt.datetime,
) -> str:
    """The value of a Received field, unfolded: `HeaderSection.prepend` folds it.

    Args:
        by: our host name.
        helo: what the client said in EHLO; whatever cannot stand in a field becomes `?`.
        peer: its IP address; empty when it has none (a unix socket).
        protocol: as `protocol` makes it, or HTTP.
        tls: version and cipher suite with a space between, as `TLSv1.3 TLS_AES_256_GCM_SHA384`;
            empty without TLS.
        queue_id: ours.
        for_: the only recipient; None if there are several, or Bcc would be told (RFC 5321 7.2).
        at: aware.
    """
    if not _ATOM.fullmatch(protocol):
        raise ValueError("the protocol of a trace field is an atom")
    clauses = [_from(helo, peer), f"by {by} with {protocol}"]
    version, _, cipher = tls.partition(" ")
    suite = cipher if _IANA_CIPHER.fullmatch(cipher) else ""
    if tls:
        clauses.append(f"({_NOT_COMMENT.sub('?', version if suite else tls)})")
    clauses.append(f"id {queue_id}")
    # A raw UTF-8 address here would ask SMTPUTF8 of every next hop (RFC 6531 3.7.3).
    if for_ is not None and (for_.address.is_ascii or protocol.startswith("UTF8")):
        clauses.append(f"for <{for_}>")
    if suite:
        clauses.append(f"tls {suite}")
    return f"{' '.join(clauses)}; {format_date(at)}"


def protocol(*, is_smtputf8: bool, is_tls: bool, is_authenticated: bool) -> str:
    """The keyword of `with` for an ESMTP session."""
    base = "UTF8SMTP" if is_smtputf8 else "ESMTP"
    return base + ("S" if is_tls else "") + ("A" if is_authenticated else "")


def hops(section: HeaderSection) -> int:
    """How many Received fields there are: 100 or more are a loop (RFC 5321 6.3)."""
    return len(section.by_name.get(b"received", ()))


@functools.lru_cache(maxsize=1000)  # a client sends many messages
def _from(helo: str, peer: str) -> str:
    literal = _literal(peer)
    name = _NOT_HELO.sub("?", helo[:_MAX_HELO]) or literal or "unknown"
    return f"from {name} ({literal})" if literal else f"from {name}"


def _literal(peer: str) -> str:
    """The address literal of an IP address (RFC 5321 4.1.3); empty if it is none."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return ""
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"
