"""What a client may ask for beside the message: tags, metadata, tracking, within limits.

Over SMTP, and in a raw message over HTTP, options are fields of the header section. They are read
here and taken out of the stored copy.

| field               | value                                                      |
|---------------------|------------------------------------------------------------|
| Idempotency-Key     | 1 to 256 visible ASCII characters, quoted or not            |
| X-Gatewayd-Tags     | words joined by commas                                      |
| X-Gatewayd-Metadata | a JSON object of strings                                    |
| X-Gatewayd-Track    | `opens`, `clicks`, both joined by a comma, or `off`         |
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Final

from gatewayd.errors import Code, Refused
from gatewayd.mail import encoded_word
from gatewayd.mail.header import HeaderSection
from gatewayd.policy.submission import Options

KEY_CHARACTERS: Final = 256
TAGS: Final = 20
TAG_CHARACTERS: Final = 64
METADATA: Final = 50
METADATA_KEY_CHARACTERS: Final = 64
METADATA_VALUE_CHARACTERS: Final = 1024

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
PREFIX: Final = b"x-gatewayd-"
_KEY: Final = IDEMPOTENCY_KEY.lower().encode()
_TAGS: Final = b"x-gatewayd-tags"
_METADATA: Final = b"x-gatewayd-metadata"
_TRACK: Final = b"x-gatewayd-track"
_FIELDS: Final = (_TAGS, _METADATA, _TRACK)
TRACKED: Final = frozenset(("opens", "clicks"))

NONE: Final = Options()  # who says nothing beside the message

_TAG: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:/-]{{0,{TAG_CHARACTERS - 1}}}")
_QUOTED: Final = re.compile(rb'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"\Z')
_BARE: Final = re.compile(rb"[\x21\x23-\x7e][\x21-\x7e]*\Z")


def is_option(key: bytes) -> bool:
    """Whether fields of this name, in lower case, speak to us and not to the recipient."""
    return key == _KEY or key.startswith(PREFIX)


def may_stand_in(header: HeaderSection) -> bool:
    """Whether a look at the octets cannot rule out options."""
    octets = header.octets.lower()
    return PREFIX in octets or _KEY in octets


def read(header: HeaderSection, given: Options) -> Options:
    """The options of a header section, over those that came otherwise.

    Raises:
        Refused: idempotency_key_invalid, option_invalid.
    """
    if not may_stand_in(header):
        check(given.tags, given.metadata)
        return given
    by_name = header.by_name
    unknown = [k for k in by_name if k.startswith(PREFIX) and k not in _FIELDS]
    if unknown:
        raise _invalid(f"{unknown[0].decode('ascii', 'replace')} is no option that exists")
    keys = header.find(IDEMPOTENCY_KEY)
    if len(keys) > 1 or any(len(by_name.get(name, ())) > 1 for name in _FIELDS):
        raise _invalid("an option can be given once")
    tags, metadata, track = given.tags, given.metadata, given.track
    if _TAGS in by_name:
        text = by_name[_TAGS][0].value.decode("utf-8", "replace")
        tags = tuple(word.strip() for word in text.split(",") if word.strip())
    if _METADATA in by_name:
        metadata = _metadata(by_name[_METADATA][0].value)
    if _TRACK in by_name:
        track = _track(by_name[_TRACK][0].value)
    check(tags, metadata)
    return Options(
        idempotency_key=parse_key(keys[0]) if keys else given.idempotency_key,
        fingerprint=given.fingerprint,
        tags=tags,
        metadata=metadata,
        track=track,
    )


def with_fingerprint(given: Options, fingerprint: bytes) -> Options:
    return replace(given, fingerprint=fingerprint)


def parse_key(value: bytes) -> str:
    """An idempotency key, quoted as in draft-ietf-httpapi-idempotency-key-header-07 or bare.

    Raises:
        Refused: idempotency_key_invalid.
    """
    value = value.strip(b" \t")
    if quoted := _QUOTED.match(value):
        value = re.sub(rb"\\(.)", rb"\1", quoted[1])
    elif not _BARE.match(value):
        value = b""
    if not 1 <= len(value) <= KEY_CHARACTERS:
        raise Refused(
            Code.IDEMPOTENCY_KEY_INVALID,
            f"send one Idempotency-Key of 1 to {KEY_CHARACTERS} visible ASCII characters",
        )
    return value.decode("ascii")


def check(tags: tuple[str, ...], metadata: tuple[tuple[str, str], ...]) -> None:
    """Refuse tags and metadata that are too many, too long or malformed.

    Raises:
        Refused: option_invalid.
    """
    if len(tags) > TAGS or not all(_TAG.fullmatch(tag) for tag in tags):
        raise _invalid(
            f"at most {TAGS} tags of at most {TAG_CHARACTERS} letters, digits and . _ : / -"
        )
    if len(metadata) > METADATA or not all(
        1 <= len(k) <= METADATA_KEY_CHARACTERS and len(v) <= METADATA_VALUE_CHARACTERS
        for k, v in metadata
    ):
        raise _invalid(
            f"metadata is at most {METADATA} pairs, keys of at most {METADATA_KEY_CHARACTERS} and "
            f"values of at most {METADATA_VALUE_CHARACTERS} characters"
        )


def _track(value: bytes) -> frozenset[str]:
    words = [word.strip() for word in value.decode("ascii", "replace").lower().split(",")]
    if words == ["off"]:
        return frozenset()
    if not TRACKED.issuperset(words):
        raise _invalid("X-Gatewayd-Track is opens, clicks, both joined by a comma, or off")
    return frozenset(words)


def _metadata(value: bytes) -> tuple[tuple[str, str], ...]:
    try:
        found = json.loads(encoded_word.decode(value))
    except (ValueError, RecursionError) as error:
        raise _invalid("X-Gatewayd-Metadata is a JSON object of strings") from error
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise _invalid("X-Gatewayd-Metadata is a JSON object of strings")
    return tuple(found.items())


def _invalid(public: str) -> Refused:
    return Refused(Code.OPTION_INVALID, public)
