"""Signed URLs of opens, clicks and unsubscribing: make, read. No database, no clock.

```
https://gw.example /track/open/  a 3Jx0...hidden id...  9fQ...MAC  .gif
                   /track/click/ a ...                             ?url=https%3A...&sig=...
                   /unsubscribe/ a ...
                                 kid(1) block(16 octets), MAC(10 octets) as base64url (35)
```

The block is the recipient's UUID under AES, so that a URL tells neither an id nor when it was made;
it is one block, so ECB is the permutation that is wanted. The MAC is 80 bits of HMAC-SHA256 over
the block, `sig` the same over block, MAC and URL. Every kind has keys of its own, so no token does
another's work. A token has one spelling: its last character has no bits to spare.

| URL of a link                                            | tracked                            |
|----------------------------------------------------------|------------------------------------|
| http or https with a host, at most 2048 characters       | yes                                |
| any other scheme, `https:host`, `//host`                 | no: a redirect there is never made |
| control characters                                       | no                                 |
| a backslash or white space in the authority              | no: two readers see two hosts      |
"""

from __future__ import annotations

import base64
import enum
import functools
import hmac
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gatewayd.ids import RecipientId
from gatewayd.keys.mac import Mac
from gatewayd.keys.ring import KeyRing
from gatewayd.tracking.target import MAX_URL

MAC_OCTETS: Final = 10
TOKEN_LENGTH: Final = 36
FIND_LIMIT: Final = 1000  # tokens looked at in one text

_BLOCK: Final = 16
_SHAPE: Final = r"[a-z2-7][A-Za-z0-9_-]{34}[AEIMQUYcgkosw048]"
_TOKEN_SHAPE: Final = re.compile(_SHAPE, re.ASCII).fullmatch
_SIG_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]{13}[AQgw]", re.ASCII).fullmatch
_WEB: Final = re.compile(
    r"https?://[^/\\?#:@\s][^/\\?#\s]*+(?:[/?#].*+)?", re.IGNORECASE | re.DOTALL
).fullmatch
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search
# A link may stand in another's query, where its slashes are escaped.
_SOMEWHERE: Final = re.compile(
    rb"(open|click|unsubscribe)(?:/|%2[Ff])(" + _SHAPE.encode() + rb")(?![A-Za-z0-9_-])"
)
_SOFT_BREAK: Final = re.compile(rb"=[ \t]*\r?\n")  # RFC 2045 6.7


class Kind(enum.Enum):
    """What a URL is for: the label of its keys, and its path."""

    OPEN = ("track-open", "/track/open/")
    CLICK = ("track-click", "/track/click/")
    UNSUBSCRIBE = ("unsubscribe", "/unsubscribe/")

    def __init__(self, label: str, path: str) -> None:
        self.label = label
        self.path = path


_KINDS: Final = {b"open": Kind.OPEN, b"click": Kind.CLICK, b"unsubscribe": Kind.UNSUBSCRIBE}


class _Sealing(threading.local):
    """The permutation of one key: a context for each thread, as none could be shared."""

    def __init__(self, cipher: Cipher[modes.ECB]) -> None:
        self.update = cipher.encryptor().update


@dataclass(frozen=True, slots=True)
class _Keys:
    """What one root gives to one kind."""

    cipher: Cipher[modes.ECB]
    sealing: _Sealing
    mac: Mac
    url: Mac

    @classmethod
    def derive(cls, ring: KeyRing, kid: str, kind: Kind) -> _Keys:
        block = ring.derive(kid, f"{kind.label}/id".encode())
        cipher = Cipher(algorithms.AES(block), modes.ECB())  # noqa: S305 - one block
        return cls(
            cipher=cipher,
            sealing=_Sealing(cipher),
            mac=Mac(ring.derive(kid, f"{kind.label}/mac".encode())),
            url=Mac(ring.derive(kid, f"{kind.label}/url".encode())),
        )

    def seal(self, recipient_id: RecipientId) -> bytes:
        """Block and MAC of an id."""
        octets = bytes.fromhex(recipient_id.replace("-", ""))
        if len(octets) != _BLOCK:
            raise ValueError("the id of a recipient is a UUID")
        block = self.sealing.update(octets)
        return block + _mac(self.mac, block)

    def open(self, sealed: bytes) -> RecipientId | None:
        """The id in block and MAC; None if we did not seal it."""
        block = sealed[:_BLOCK]
        if not hmac.compare_digest(sealed[_BLOCK:], _mac(self.mac, block)):
            return None
        digits = self.cipher.decryptor().update(block).hex()
        return RecipientId(
            f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        )

    def sign(self, sealed: bytes, url: bytes) -> bytes:
        return _mac(self.url, sealed + url)


@dataclass(frozen=True, slots=True)
class _Rings:
    """The keys of a ring: all that read, and which makes."""

    active: str
    keys: dict[Kind, dict[str, _Keys]]


class Links:
    """Makes and reads the URLs of one installation.

    Args:
        ring: of the purpose TRACKING.
        base_url: what recipients reach us by, `http.public_url`.
    """

    def __init__(self, ring: KeyRing, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self.use(ring)

    def use(self, ring: KeyRing) -> None:
        """Take another ring."""
        self._rings = _Rings(
            active=ring.active.kid,
            keys={
                kind: {key.kid: _Keys.derive(ring, key.kid, kind) for key in ring.readable}
                for kind in Kind
            },
        )

    def open_url(self, recipient_id: RecipientId) -> str:
        """The address of the pixel."""
        return f"{self.base_url}{Kind.OPEN.path}{self._token(Kind.OPEN, recipient_id)}.gif"

    def click_url(self, recipient_id: RecipientId, url: str) -> str:
        """The address that leads to `url`; `url` itself where the table above says no."""
        return self.clicks(recipient_id)(url)

    def clicks(self, recipient_id: RecipientId) -> Callable[[str], str]:
        """`click_url` for all links of one recipient, whose token is made once."""
        kid, keys = self._active(Kind.CLICK)
        sealed = keys.seal(recipient_id)
        begin = f"{self.base_url}{Kind.CLICK.path}{kid}{_encode(sealed)}?url="

        def click(url: str) -> str:
            target = _target(url)
            if target is None:
                return url
            octets, quoted = target
            return f"{begin}{quoted}&sig={_encode(keys.sign(sealed, octets))}"

        return click

    def unsubscribe_url(self, recipient_id: RecipientId) -> str:
        """The address of the page, and of the one-click POST (RFC 8058)."""
        token = self._token(Kind.UNSUBSCRIBE, recipient_id)
        return f"{self.base_url}{Kind.UNSUBSCRIBE.path}{token}"

    def read_open(self, token: str) -> RecipientId | None:
        """Who a pixel's token was made for; None if it was not made here."""
        return self._read(Kind.OPEN, token)

    def read_click(self, token: str, url: str, sig: str) -> RecipientId | None:
        """Whose link this is; None unless token, URL and signature belong together."""
        keys = self._rings.keys[Kind.CLICK].get(token[:1])
        if keys is None or not _TOKEN_SHAPE(token) or not _SIG_SHAPE(sig) or not is_web(url):
            return None
        sealed = _decode(token[1:])
        if not hmac.compare_digest(_decode(sig), keys.sign(sealed, url.encode())):
            return None
        return keys.open(sealed)

    def read_unsubscribe(self, token: str) -> RecipientId | None:
        """Who wants to leave; None if the token was not made here."""
        return self._read(Kind.UNSUBSCRIBE, token)

    def find(self, octets: bytes) -> set[RecipientId]:
        """Everybody whose URL, of whatever kind, stands in a text.

        Quoted-printable is read as it is and with its lines joined; base64 is the caller's to undo.
        Only the first 1000 places that look like one of ours are tried.
        """
        return self._found(octets, frozenset(Kind))

    def find_leaving(self, octets: bytes) -> set[RecipientId]:
        """As `find`, but by unsubscribe URLs alone: whoever holds one may act for its recipient.

        The others are shown to many: a click to its proxies and scanners, a pixel to mail programs.
        """
        return self._found(octets, frozenset((Kind.UNSUBSCRIBE,)))

    def _found(self, octets: bytes, kinds: frozenset[Kind]) -> set[RecipientId]:
        found: set[RecipientId] = set()
        texts = {octets, _SOFT_BREAK.sub(b"", octets)}
        for text in texts:
            places = {match.group(1, 2) for match in _first(text)}
            for name, token in places:
                kind = _KINDS[name]
                if kind not in kinds:
                    continue
                recipient_id = self._read(kind, token.decode("ascii"))
                if recipient_id is not None:
                    found.add(recipient_id)
        return found

    def _active(self, kind: Kind) -> tuple[str, _Keys]:
        rings = self._rings
        return rings.active, rings.keys[kind][rings.active]

    def _token(self, kind: Kind, recipient_id: RecipientId) -> str:
        kid, keys = self._active(kind)
        return kid + _encode(keys.seal(recipient_id))

    def _read(self, kind: Kind, token: str) -> RecipientId | None:
        keys = self._rings.keys[kind].get(token[:1])
        if keys is None or not _TOKEN_SHAPE(token):
            return None
        return keys.open(_decode(token[1:]))


def is_web(url: str) -> bool:
    """Whether a redirect may lead there: the table of this module."""
    return len(url) <= MAX_URL and _WEB(url) is not None and _CONTROL(url) is None


def _first(text: bytes) -> list[re.Match[bytes]]:
    return [match for match, _ in zip(_SOMEWHERE.finditer(text), range(FIND_LIMIT), strict=False)]


def _mac(key: Mac, octets: bytes) -> bytes:
    return key.digest(octets)[:MAC_OCTETS]


def _encode(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode("ascii").rstrip("=")


def _decode(text: str) -> bytes:
    """Octets of a text whose shape was checked."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@functools.lru_cache(maxsize=1024)
def _target(url: str) -> tuple[bytes, str] | None:
    """A URL as octets and as a query value, None where `is_web` says no.

    A newsletter has the same ones for every recipient.
    """
    return (url.encode(), quote(url, safe="")) if is_web(url) else None
