"""SASL: PLAIN, LOGIN, XOAUTH2 and OAUTHBEARER, each carrying a token; and the login throttle.

| mechanism   | the client sends                                             | source        |
|-------------|--------------------------------------------------------------|---------------|
| PLAIN       | [user] NUL user NUL token                                    | RFC 4616 2    |
| LOGIN       | user, then token, each after a challenge                     | (no standard) |
| XOAUTH2     | `user=` user ^A `auth=Bearer ` token ^A ^A                   | Google        |
| OAUTHBEARER | `n,a=`user`,` ^A [key=value ^A]... `auth=Bearer ` token ^A ^A | RFC 7628 3.1 |

A mechanism is a generator: it yields challenges, is sent responses, and returns Credentials. It
knows no sockets and no base64. All may be used with or without an initial response.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from gatewayd.clock import Clock
from gatewayd.mail.address import Address, AddressSyntaxError

LINE_OCTETS: Final = 12_288  # of AUTH and of each response to a challenge (RFC 4954 4)
FAILURE_S: Final = 0.1  # from the credentials to "no": longer than any reason for it takes to find
TOKEN_USER: Final = "token"  # the user of a client that only knows its token  # noqa: S105

_BEARER = re.compile(r"bearer +([!-~]+)", re.IGNORECASE).fullmatch
_GS2 = re.compile(r"[ny],(?:a=([^,\x00]*))?,").fullmatch
# What a client is told before it is refused (RFC 7628 3.2.2). It answers with anything, then is.
BEARER_ERROR: Final = b'{"status":"invalid_token","schemes":"bearer","scope":"messages:send"}'
BEARER_MECHANISMS: Final = frozenset({"XOAUTH2", "OAUTHBEARER"})

_TRACKED = 20_000  # networks that the throttle remembers; the longest unseen is forgotten first


class SaslError(Exception):
    """What the client sent is not in the form of its mechanism."""


class NotBase64(SaslError):
    """It is not even base64 (RFC 4954 4)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a client says it is. user: a mailbox address, or `token`."""

    user: str
    token: str = field(repr=False)


Exchange = Generator[bytes, bytes, Credentials]


def decode_base64(line: bytes) -> bytes:
    """Read a response, strictly.

    Raises:
        NotBase64: any octet outside the alphabet, or wrong padding.
    """
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise NotBase64 from error


def _plain(initial: bytes | None) -> Exchange:
    response = initial if initial is not None else (yield b"")
    parts = _text(response).split("\0")
    if len(parts) != 3:
        raise SaslError
    authorization, user, token = parts
    # We let nobody act for another: an authorization identity must name the same mailbox.
    if authorization and _fold(authorization) != _fold(user):
        raise SaslError
    return _credentials(user, token)


def _login(initial: bytes | None) -> Exchange:
    user = initial if initial is not None else (yield b"Username:")
    token = yield b"Password:"
    return _credentials(_text(user), _text(token))


def _xoauth2(initial: bytes | None) -> Exchange:
    response = initial if initial is not None else (yield b"")
    pairs = _pairs(_text(response))
    return _credentials(pairs.get("user", ""), _bearer(pairs))


def _oauthbearer(initial: bytes | None) -> Exchange:
    response = initial if initial is not None else (yield b"")
    header, separator, rest = _text(response).partition("\x01")
    match = _GS2(header)
    if match is None or not separator:
        raise SaslError
    user = (match[1] or "").replace("=2C", ",").replace("=3D", "=")  # RFC 5801 4
    return _credentials(user or TOKEN_USER, _bearer(_pairs(rest)))


MECHANISMS: Final[Mapping[str, Callable[[bytes | None], Exchange]]] = MappingProxyType(
    {"PLAIN": _plain, "LOGIN": _login, "XOAUTH2": _xoauth2, "OAUTHBEARER": _oauthbearer}
)


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise SaslError from error


def _pairs(text: str) -> dict[str, str]:
    """`key=value` between ^A, ended by two of them (RFC 7628 3.1)."""
    if not text.endswith("\x01\x01"):
        raise SaslError
    pairs: dict[str, str] = {}
    for pair in text[:-2].split("\x01"):
        key, equals, value = pair.partition("=")
        if not equals or key.lower() in pairs:
            raise SaslError
        pairs[key.lower()] = value
    return pairs


def _bearer(pairs: Mapping[str, str]) -> str:
    match = _BEARER(pairs.get("auth", ""))
    if match is None:
        raise SaslError
    return match[1]


def _credentials(user: str, token: str) -> Credentials:
    if not user or not token:
        raise SaslError
    return Credentials(user, token)


def _fold(user: str) -> str:
    try:
        return Address.parse(user).key
    except AddressSyntaxError:
        return user.lower()


@dataclass(slots=True)
class _Window:
    """Failed logins in fixed windows of a minute and a day."""

    minute: int = 0
    in_minute: int = 0
    day: int = 0
    in_day: int = 0


class LoginThrottle:
    """Counts failed logins by network, in memory; shared by all listeners.

    | network                 | failures a minute and a day |
    |-------------------------|-----------------------------|
    | IPv4 address, IPv6 /64  | per_minute, per_day         |
    | IPv4 /26, IPv6 /48      | three times as many         |

    Loopback is not counted: a client there is this machine's own, and shares its address with all
    the others.
    """

    def __init__(self, *, clock: Clock, per_minute: int, per_day: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._per_day = per_day
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def use(self, *, per_minute: int, per_day: int) -> None:
        """Take other limits, after a reload; what was counted stays."""
        self._per_minute = per_minute
        self._per_day = per_day

    def is_blocked(self, peer: str) -> bool:
        """Whether clients at this IP address may not log in for now."""
        return any(
            window.in_minute >= self._per_minute * factor or window.in_day >= self._per_day * factor
            for factor, network in _networks(peer)
            if (window := self._current(network)) is not None
        )

    def count_failure(self, peer: str) -> None:
        """Remember a failed login."""
        for _, network in _networks(peer):
            window = self._current(network)
            if window is None:
                minute, day = self._now()
                window = self._windows[network] = _Window(minute, 0, day, 0)
                if len(self._windows) > _TRACKED:
                    self._windows.popitem(last=False)
            window.in_minute += 1
            window.in_day += 1
            self._windows.move_to_end(network)

    def _current(self, network: str) -> _Window | None:
        window = self._windows.get(network)
        if window is None:
            return None
        minute, day = self._now()
        if window.minute != minute:
            window.minute, window.in_minute = minute, 0
        if window.day != day:
            window.day, window.in_day = day, 0
        return window

    def _now(self) -> tuple[int, int]:
        seconds = int(self._clock.monotonic())
        return seconds // 60, seconds // 86_400


def _networks(peer: str) -> tuple[tuple[int, str], ...]:
    """The networks an address counts for, each with its factor."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return ()  # a unix socket
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return ()
    narrow, wide = (32, 26) if address.version == 4 else (64, 48)
    return tuple(
        (factor, str(ipaddress.ip_network((address, prefix), strict=False)))
        for factor, prefix in ((1, narrow), (3, wide))
    )


def network_of(peer: str) -> str:
    """What counts as one client in limits per IP address: an IPv4 address or an IPv6 /64."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return peer
