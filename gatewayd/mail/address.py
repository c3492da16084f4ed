"""Address, ReversePath (may be null) and ForwardPath: the Mailbox grammar of SMTP, strictly.

RFC 5321 4.1.2 with the UTF-8 of RFC 6531 3.3 and the domains of IDNA 2008 (RFC 5891):

| part       | allowed                                                   | octets | RFC 5321  |
|------------|-----------------------------------------------------------|--------|-----------|
| local-part | dot-string or quoted-string, kept as it was written       | 64     | 4.5.3.1.1 |
| domain     | LDH labels, U-labels, `[192.0.2.1]`, `[IPv6:2001:db8::1]` | 255    | 4.5.3.1.2 |
| all        |                                                           | 254    | 4.5.3.1.3 |

Not allowed, whatever older texts say: source routes, comments, folding, a missing domain, control
characters even where quoted, characters that cannot be seen or that turn text around, a bare IP
address for a domain. `%` and `!` in a local-part are plain characters: nobody here relays by them.

Every path through this file takes linear time, and nothing longer than 254 octets is looked at.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass

import idna

LOCAL_PART_OCTETS = 64  # RFC 5321 4.5.3.1.1
DOMAIN_OCTETS = 255  # RFC 5321 4.5.3.1.2
ADDRESS_OCTETS = 254  # RFC 5321 4.5.3.1.3: a path has 256, two of them are its brackets

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_DOT_STRING = rf"[{_ATEXT}]++(?:\.[{_ATEXT}]++)*+"
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}+(?<!-)"
# The last label is not a number, so that a bare IP address is no domain (RFC 1123 2.1).
_DOMAIN = rf"(?:{_LABEL}\.)*+(?![0-9]++\Z){_LABEL}"
_PLAIN = re.compile(rf"({_DOT_STRING})@({_DOMAIN})").fullmatch
_LDH_LABEL = re.compile(_LABEL).fullmatch
_U_DOT_STRING = re.compile(rf"[{_ATEXT}\x80-\U0010ffff]++(?:\.[{_ATEXT}\x80-\U0010ffff]++)*+")
_QUOTED_STRING = re.compile(r'"(?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*+"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_LITERAL = re.compile(r"\[(?:([0-9.]++)|IPv6:([0-9a-f:.]++))\]", re.IGNORECASE | re.ASCII).fullmatch

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# C1 controls, spaces other than SP, marks of direction, tags, surrogates and noncharacters. The
# joiners U+200C and U+200D stay: Persian and Indic words are spelled with them.
_UNSEEN = re.compile(
    "[\x80-\xa0\xad\u061c\u1680\u180e\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u206f\u3000"
    "\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff0-\uffff\U000e0000-\U000e0fff]"
)

# The brackets, with quoted strings inside them whole; then parameters after a space.
_PATH = re.compile(r'<((?:[^<>"\\]|"(?:[^"\\]|\\.)*+")*+)>(?: ++(.*))?')


class AddressSyntaxError(ValueError):
    """The text is no address; the message says why and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox address. What comes from outside is made by `parse`, which checks it.

    local_part: as written, with its quotes if it has them.
    domain: lower case; A-labels as given, U-labels in NFC; an address literal in brackets.
    """

    local_part: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `local-part@domain`, without brackets.

        Raises:
            AddressSyntaxError: anything that the table of this file does not allow.
        """
        if len(text) > ADDRESS_OCTETS:
            raise AddressSyntaxError(_TOO_LONG)
        match = _PLAIN(text)
        if match is not None and match.end(1) <= LOCAL_PART_OCTETS:
            return cls(match[1], match[2].lower())
        return _parse_other(text)

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        """Whether it can be sent without SMTPUTF8 as it is."""
        return self.local_part.isascii() and self.domain.isascii()

    @property
    def ascii_domain(self) -> str:
        """The domain in A-labels."""
        domain = self.domain
        return domain if domain.isascii() else _to_ascii(domain)

    @property
    def canonical(self) -> str:
        """Equal for two spellings that every host must treat alike.

        Needless quotes (RFC 5321 4.1.2), case and form of the domain do not count; case of the
        local-part does, because only its own host may fold it (RFC 5321 2.4).
        """
        local = self.local_part
        if local.startswith('"'):
            local = _quote(_unquote(local))
        return f"{local}@{self.ascii_domain}"

    @property
    def key(self) -> str:
        """Equal for two spellings of one mailbox address, in the sense of sender binding.

        As `canonical`, and the case of ASCII letters does not count. No mailbox of another domain
        or with other characters ever gets the same key.
        """
        if self.is_ascii and not self.local_part.startswith('"'):
            return f"{self.local_part}@{self.domain}".lower()
        # bytes.lower leaves everything but ASCII alone: other letters have no agreed case.
        return self.canonical.encode().lower().decode()


@dataclass(frozen=True, slots=True)
class ForwardPath:
    """The address of RCPT TO."""

    address: Address

    @classmethod
    def parse(cls, text: str) -> ForwardPath:
        """Read what stands between the brackets.

        Raises:
            AddressSyntaxError: no address, or the empty path.
        """
        if not text:
            raise AddressSyntaxError("a forward-path cannot be null (RFC 5321 4.1.1.3)")
        return cls(Address.parse(text))

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class ReversePath:
    """The address of MAIL FROM; None for the null reverse-path, `<>` (RFC 5321 4.5.5)."""

    address: Address | None

    @classmethod
    def parse(cls, text: str) -> ReversePath:
        """Read what stands between the brackets; nothing is the null reverse-path.

        Raises:
            AddressSyntaxError: no address.
        """
        return cls(Address.parse(text)) if text else NULL

    @property
    def is_null(self) -> bool:
        return self.address is None

    def __str__(self) -> str:
        return "" if self.address is None else str(self.address)


NULL = ReversePath(None)


def split_path(argument: str) -> tuple[str, str]:
    """Part what follows `FROM:` or `TO:` into the text between the brackets and the parameters.

    `<a@b> SIZE=1` gives `("a@b", "SIZE=1")`. A bracket inside a quoted string is text.

    Raises:
        AddressSyntaxError: no brackets, a source route, control characters anywhere.
    """
    if _CONTROL.search(argument) is not None:
        raise AddressSyntaxError("control characters are not allowed in a path or parameter")
    match = _PATH.fullmatch(argument)
    if match is None:
        raise AddressSyntaxError("write the address in angle brackets, as <user@example.com>")
    path, parameters = match[1], match[2] or ""
    if path.startswith("@"):
        raise AddressSyntaxError("source routes are not supported (RFC 5321 appendix C)")
    return path, parameters.rstrip(" ")


_TOO_LONG = f"an address has at most {ADDRESS_OCTETS} octets (RFC 5321 4.5.3.1.3)"


def _parse_other(text: str) -> Address:
    """Whatever the plain form does not match: quotes, literals, UTF-8, and every mistake."""
    if _CONTROL.search(text) is not None:
        raise AddressSyntaxError("control characters are not allowed in an address")
    if _UNSEEN.search(text) is not None:
        raise AddressSyntaxError("invisible characters are not allowed in an address")
    if len(text.encode()) > ADDRESS_OCTETS:
        raise AddressSyntaxError(_TOO_LONG)
    local, domain = _split(text)
    if len(local.encode()) > LOCAL_PART_OCTETS:
        raise AddressSyntaxError(
            f"a local-part has at most {LOCAL_PART_OCTETS} octets (RFC 5321 4.5.3.1.1)"
        )
    domain = _read_literal(domain) if domain.startswith("[") else _read_domain(domain)
    if len(local.encode()) + 1 + len(domain.encode()) > ADDRESS_OCTETS:  # NFC may lengthen it
        raise AddressSyntaxError(_TOO_LONG)
    return Address(local, domain)


def _split(text: str) -> tuple[str, str]:
    """Local-part, checked, and what follows the @."""
    if text.startswith("@"):
        raise AddressSyntaxError("there is no local-part, or this is a source route")
    pattern = _QUOTED_STRING if text.startswith('"') else _U_DOT_STRING
    match = pattern.match(text)
    if match is None or not text.startswith("@", match.end()):
        if "@" not in text:
            raise AddressSyntaxError("an address has an @ and a domain")
        raise AddressSyntaxError(
            "the local-part has a character or a dot where it is not allowed (RFC 5321 4.1.2)"
        )
    return match[0], text[match.end() + 1 :]


def _read_domain(domain: str) -> str:
    """A domain of LDH labels and U-labels, in lower case and NFC."""
    domain = unicodedata.normalize("NFC", domain.lower())
    if len(_to_ascii(domain)) > DOMAIN_OCTETS:
        raise AddressSyntaxError(
            f"a domain has at most {DOMAIN_OCTETS} octets (RFC 5321 4.5.3.1.2)"
        )
    if domain.rpartition(".")[2].isdigit():
        raise AddressSyntaxError("an IP address is written in brackets, as [192.0.2.1]")
    return domain


def _to_ascii(domain: str) -> str:
    """The domain in A-labels.

    Raises:
        AddressSyntaxError: a label that is neither LDH nor a U-label (RFC 5890 2.3.2.1).
    """
    return ".".join([_label_to_ascii(label) for label in domain.split(".")])


def _label_to_ascii(label: str) -> str:
    # A label that says it is an A-label is not decoded: for mail it is an LDH label like others.
    if label.isascii():
        if _LDH_LABEL(label) is None:
            raise AddressSyntaxError(
                "a domain is labels of letters, digits and inner hyphens, at most 63 each"
            )
        return label.lower()
    try:
        return idna.alabel(label).decode("ascii")
    except (idna.IDNAError, UnicodeError) as fault:
        raise AddressSyntaxError("the domain is no internationalised domain (RFC 5890)") from fault


def _read_literal(domain: str) -> str:
    """An address literal, in one spelling (RFC 5321 4.1.3)."""
    match = _LITERAL(domain)
    try:
        if match is not None and match[1]:
            return f"[{ipaddress.IPv4Address(match[1])}]"
        if match is not None:
            return f"[IPv6:{ipaddress.IPv6Address(match[2])}]"
    except ValueError:
        pass  # the form is right and a number is not: the same answer
    raise AddressSyntaxError(
        "an address literal is written [192.0.2.1] or [IPv6:2001:db8::1] (RFC 5321 4.1.3)"
    )


def _unquote(local: str) -> str:
    """The text that a quoted-string stands for."""
    return _QUOTED_PAIR.sub(r"\1", local[1:-1])


def _quote(text: str) -> str:
    """The shortest spelling of a local-part (RFC 5321 4.1.2)."""
    if _U_DOT_STRING.fullmatch(text) is not None:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
