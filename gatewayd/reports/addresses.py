"""Addresses as reports write them: found in text, taken out of a field.

More is an address here than in `mail/address.py`: a report says whom it could not reach, in the
spelling of its system, and carriers have local-parts with dots where the grammar allows none. Who
believes a report compares with an address of ours, so a wrong one costs nothing.

Linear: each place in a text is looked at once, and an address has a bounded length.
"""

from __future__ import annotations

import contextlib
import re
from typing import Final

from gatewayd.mail import xtext

_LOCAL: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\U0010ffff-]"
_LABEL: Final = r"[A-Za-z0-9_\x80-\U0010ffff-]{1,63}+"
_DOMAIN: Final = rf"{_LABEL}(?:\.{{1,3}}{_LABEL}){{1,20}}+|\[[0-9A-Fa-f:.IPv]{{3,45}}+\]"
_PLAIN: Final = (
    rf'(?:(?<!{_LOCAL})(?<!")(?P<plain>{_LOCAL}{{1,128}}+)|(?P<quoted>"[^"\s\\@<>]{{1,64}}+"))'
)
_ADDRESS: Final = re.compile(rf"{_PLAIN}@(?P<host>{_DOMAIN})")
# In a field that holds nothing else, `ann@mailhost` is an address too.
_LOOSE: Final = re.compile(rf"{_PLAIN}@(?P<host>{_DOMAIN}|{_LABEL})")
_BRACKETS: Final = re.compile(r"<([^<>]{1,320}+)>")
_TYPE: Final = re.compile(r"\s*+([A-Za-z0-9-]{1,20}+)\s*+;\s*+")
_COMMENT: Final = re.compile(r"\([^()]{0,500}+\)")
_UNITEXT: Final = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_MAX_FIELD: Final = 1024
_EDGES: Final = "'`*=|?!/"


def find(text: str, *, limit: int = 50) -> list[str]:
    """Addresses in a text in order, each once."""
    found: dict[str, None] = {}
    for match in _ADDRESS.finditer(text):
        address = _trim(match)
        if address:
            found.setdefault(address)
            if len(found) >= limit:
                break
    return list(found)


def first(text: str, pattern: re.Pattern[str] = _ADDRESS) -> str:
    """The first address in a text, "" without one."""
    match = pattern.search(text)
    while match is not None:
        if address := _trim(match):
            return address
        match = pattern.search(text, match.end())
    return ""


def blank(text: str) -> str:
    """The text with `@` for each address, so that no word of one is read as a word of the text."""
    return _ADDRESS.sub("@", text)


def typed(value: str) -> str:
    """The address of a Final-Recipient or Original-Recipient field, "" if it names none.

    `rfc822; ann@example.com`, and what is written instead: no type, a type twice, brackets, a
    comment, xtext or the escapes of RFC 6533 3 left in.
    """
    value = value[:_MAX_FIELD]
    kind = ""
    while match := _TYPE.match(value):
        kind, value = match[1].lower(), value[match.end() :]
    value = value.strip()
    if bracketed := _BRACKETS.search(value):
        value = bracketed[1]
    elif "(" in value:
        value = _COMMENT.sub("", value)
    if kind == "utf-8":
        value = _UNITEXT.sub(_character, value)
    if "+" in value and "@" not in value:
        with contextlib.suppress(xtext.XtextSyntaxError):
            value = xtext.decode(value)
    return first(value, _LOOSE)


def _character(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    return chr(point) if point < 0x110000 and not 0xD800 <= point < 0xE000 else match[0]


def _trim(match: re.Match[str]) -> str:
    host = match["host"].rstrip(".-")
    if match["quoted"]:
        return f"{match['quoted']}@{host}"
    local = match["plain"].lstrip(_EDGES)
    # `rfc822=ann`, `to:ann`: words of the report that touch the address.
    for glued in ("rfc822=", "smtp=", "mailto=", "for=", "to="):
        if local.lower().startswith(glued):
            local = local[len(glued) :]
    return f"{local}@{host}" if local and host else ""
