"""The types of single keys: seconds, octets, counts, binds, host names, paths, networks.

A validator's ValueError says what was expected, as the words after "expected": it is shown to the
operator as it stands.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    Strict,
    ValidationInfo,
)
from pydantic.types import AllowInfNan

from gatewayd.mail.address import Address, AddressSyntaxError

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")  # RFC 1123 2.1
_LOOSE_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")  # names of containers
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
CREDENTIAL: Final = "credential:"


class Section(BaseModel):
    """A table of the file: frozen, and with no key that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def is_loopback(host: str) -> bool:
    """Whether a host of the configuration can be reached from this machine only."""
    if host.lower() in ("localhost", "localhost."):
        return True
    literal = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return ipaddress.ip_address(literal).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Bind:
    """Where a listener listens. Port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port` or `[v6]:port`.

        Raises:
            ValueError: another form.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError('host:port, such as "127.0.0.1:587" or "[::1]:587"')
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            _v6(host)
        elif ":" in host:
            raise ValueError('an IPv6 address in brackets, such as "[::1]:587"')
        elif not host:
            raise ValueError('an address before the port: "0.0.0.0" or "[::]" for all')
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _v6(host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError('an IPv6 address in brackets, such as "[::1]:587"') from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text in quotes")  # noqa: TRY004 - pydantic collects ValueError only
    return value


def _bind(value: object) -> Bind:
    return value if isinstance(value, Bind) else Bind.parse(_text(value))


def _optional_bind(value: object) -> Bind | None:
    return None if value is None or value == "" else _bind(value)


def _host_name(value: str) -> str:
    return _labels(value, _LABEL)


def _labels(value: str, label: re.Pattern[str]) -> str:
    host = value.lower().removesuffix(".")
    if len(host) > 253 or not all(label.match(part) for part in host.split(".")):
        raise ValueError('a host name of letters, digits, hyphens and dots: "mail.example.com"')
    return host


def _host(value: str) -> str:
    """Allow a host name or an IP address."""
    try:
        return str(ipaddress.ip_address(value.strip("[]")))
    except ValueError:
        return _labels(value, _LOOSE_LABEL)


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError('an IP address or network, such as "10.0.0.7" or "10.0.0.0/8"') from None


def _name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError("a name of at most 63 letters, digits, dots, hyphens and underscores")
    return value


def _url(value: str) -> str:
    if value:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ValueError('the address that clients see: "https://mail.example.com"')
        if url.username or url.password:
            raise ValueError("an address without user and password")
    return value.rstrip("/")


def _path(value: object) -> Path:
    path = value if isinstance(value, Path) else Path(_text(value))
    if "\0" in str(path) or not path.is_absolute():
        raise ValueError("an absolute path, one that starts with /")
    return path


def _file(value: object, info: ValidationInfo) -> Path:
    """Allow `credential:NAME` for a file that systemd hands over.

    Validation context `credentials` is $CREDENTIALS_DIRECTORY; without it the reference stays as
    it is, so that a file can be checked outside of systemd, and `read_secret` refuses it later.
    """
    text = str(value) if isinstance(value, Path) else _text(value)
    if not text.startswith(CREDENTIAL):
        return _path(text)
    name = text.removeprefix(CREDENTIAL)
    if not _NAME.match(name):
        raise ValueError(f'"{CREDENTIAL}NAME" with the name of a LoadCredential= line')
    directory: Path | None = (info.context or {}).get("credentials")
    return directory / name if directory else Path(text)


def _optional_directory(value: object) -> Path | None:
    return None if value is None or value == "" else _path(value)


def _quota(value: object) -> int | None:
    if value is None or value == "unlimited":
        return None
    if type(value) is not int or value < 1:
        raise ValueError('a whole number of at least 1, or "unlimited"')
    return value


def _auto_octets(value: object) -> int | None:
    if value is None or value == "auto":
        return None
    if type(value) is not int or value < 1:
        raise ValueError('a whole number of octets, or "auto"')
    return value


def _days(value: object) -> int | None:
    if value is None or value == "forever":
        return None
    if type(value) is not int or not 1 <= value <= 36_500:
        raise ValueError('a whole number of days, or "forever"')
    return value


def _address(value: str) -> str:
    try:
        return str(Address.parse(value))
    except AddressSyntaxError:
        raise ValueError('a mail address, such as "ops@example.com"') from None


Flag = Annotated[bool, Strict()]
Seconds = Annotated[float, Strict(), AllowInfNan(allow_inf_nan=False), Gt(0), Le(1e9)]
Octets = Annotated[int, Strict(), Ge(1), Le(1 << 50)]
Count = Annotated[int, Strict(), Ge(1), Le(1 << 31)]
Ratio = Annotated[float, Strict(), AllowInfNan(allow_inf_nan=False), Ge(0), Le(1)]
Port = Annotated[int, Strict(), Ge(1), Le(65535)]

Text = Annotated[str, Strict()]
Name = Annotated[str, Strict(), AfterValidator(_name)]
HostName = Annotated[str, Strict(), AfterValidator(_host_name)]
Host = Annotated[str, Strict(), AfterValidator(_host)]
Network = Annotated[str, Strict(), AfterValidator(_network)]
PublicUrl = Annotated[str, Strict(), AfterValidator(_url)]

BindText = Annotated[Bind, BeforeValidator(_bind), PlainSerializer(str)]
OptionalBind = Annotated[
    Bind | None,
    BeforeValidator(_optional_bind),
    PlainSerializer(lambda bind: "" if bind is None else str(bind)),
]
Directory = Annotated[Path, BeforeValidator(_path), PlainSerializer(str)]
OptionalDirectory = Annotated[
    Path | None,
    BeforeValidator(_optional_directory),
    PlainSerializer(lambda path: "" if path is None else str(path)),
]
File = Annotated[Path, BeforeValidator(_file), PlainSerializer(str)]
AutoOctets = Annotated[
    int | None,
    BeforeValidator(_auto_octets),
    PlainSerializer(lambda octets: "auto" if octets is None else octets),
]
AddressText = Annotated[str, Strict(), AfterValidator(_address)]
Days = Annotated[
    int | None,
    BeforeValidator(_days),
    PlainSerializer(lambda days: "forever" if days is None else days),
]
Quota = Annotated[
    int | None,
    BeforeValidator(_quota),
    PlainSerializer(lambda units: "unlimited" if units is None else units),
]
