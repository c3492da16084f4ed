r"""Mailboxes of From, Sender, Reply-To, To: read strictly, written safely (RFC 5322 3.4).

What is read here decides who a message says it is from, so it must be what every other reader
sees too. Whatever readers have been known to disagree about is refused, not guessed:

| in the value                                      | answer                                       |
|---------------------------------------------------|----------------------------------------------|
| `a@x`, `Name <a@x>`, `"<b@y>, c" <a@x>`           | a@x                                          |
| `a@x, "B" <b@y>`                                  | both, in order                               |
| `John Q. Public <a@x>`                            | a@x; the dot is obs-phrase, and common       |
| `a@x (Name)`                                      | a@x, if the comment is plain words           |
| comment with `<>@,:;"\()`, or inside an address   | refused                                      |
| group `Team: a@x;`                                | refused; its members with `allow_groups`     |
| `<@r:a@x>`, `<a@x> <b@y>`, `a @ x`, `a@x,,b@y`    | refused (obsolete forms, RFC 5322 4.4)       |
| encoded word where the address is                 | refused (RFC 2047 5 (3))                     |

Time is in proportion to the value: one pass of one regular expression that cannot backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gatewayd.mail import encoded_word
from gatewayd.mail.address import Address, AddressSyntaxError


class HeaderSyntaxError(ValueError):
    """A header field, or the value for one, is not what the standard asks for; str() says why."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with the name shown beside it."""

    address: Address
    display_name: str | None = None


_ATEXT = r"A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u00a0-\u2027\u202a-\U0010ffff"
_TOKEN = re.compile(
    r"(?P<space>[ \t]++)"
    rf"|(?P<atom>[{_ATEXT}]++)"
    r'|(?P<quoted>"(?:[^"\\\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]|\\[\t -~])*+")'
    r"|(?P<literal>\[[!-Z^-~]*+\])"
    rf"|(?P<comment>\([{_ATEXT} \t.]*+\))"
    r"|(?P<special>[<>@,.:;])"
)
_PHRASE = frozenset(("space", "comment", "atom", "quoted", "."))
_ADDRESS = frozenset(("atom", "quoted", "literal", ".", "@"))
_PLAIN_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+\-/?^_`{|}~]+(?: [A-Za-z0-9!#$%&'*+\-/?^_`{|}~]+)*+")
_LONGEST_WORD = 200  # characters; half of a line of 998 octets if each is escaped
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_Token = tuple[str, str]  # kind, text; the kind of a special is the special itself


def addresses(value: bytes, *, allow_groups: bool = False) -> list[Address]:
    """Every address of the field, in order; at least one unless a group is empty.

    Raises:
        HeaderSyntaxError: for anything that two readers could read in two ways.
    """
    return [_address(spec) for _, spec in _members(value, allow_groups=allow_groups)]


def mailboxes(value: bytes, *, allow_groups: bool = False) -> list[Mailbox]:
    """The same as `addresses`, with the display names decoded for showing."""
    return [
        Mailbox(_address(spec), _display_name(phrase))
        for phrase, spec in _members(value, allow_groups=allow_groups)
    ]


def format_originator(display_name: str, address: Address, *, smtputf8: bool = False) -> str:
    """The value of a From field: plain, quoted or encoded name, then the address.

    Args:
        display_name: may be empty, then the address stands alone.
        address: written as it is; one that is not ASCII needs SMTPUTF8 in any case.
        smtputf8: names that are not ASCII may stay raw UTF-8 (RFC 6532).

    Raises:
        HeaderSyntaxError: the name holds a control character or a lone surrogate.
    """
    name = display_name.strip(" ")
    if not name:
        return str(address)
    if _CONTROL.search(name):
        raise HeaderSyntaxError("a display name may not hold line breaks or control characters")
    if _PLAIN_PHRASE.fullmatch(name):
        return f"{name} <{address}>"
    # Readers decode encoded words even inside quotes, so a name that looks like one is encoded;
    # so is one with a word that no line can hold.
    is_encoded = "=?" in name or max(map(len, name.split(" "))) > _LONGEST_WORD
    if is_encoded or not (name.isascii() or smtputf8):
        try:
            # `From: ` or another short name stands before it on the line.
            return f"{encoded_word.encode(name, first_width=64)} <{address}>"
        except UnicodeEncodeError as error:
            raise HeaderSyntaxError("a display name must be valid Unicode") from error
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address}>'


def _tokens(value: bytes) -> Iterator[_Token]:
    try:
        text = value.replace(b"\r\n", b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderSyntaxError("the address list is not valid UTF-8") from error
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise HeaderSyntaxError(f"the address list cannot be read from character {at + 1} on")
        kind = match.lastgroup or ""
        yield (match[0] if kind == "special" else kind, match[0])
        at = match.end()


def _members(value: bytes, *, allow_groups: bool) -> Iterator[tuple[list[_Token], list[_Token]]]:
    """Phrase and address tokens of each mailbox, split at commas, groups opened."""
    member: list[_Token] = []
    in_group = after_group = after_comma = False
    for token in _tokens(value):
        kind = token[0]
        if kind == "," and after_group:
            _blank_only(member)
            member, after_group = [], False
        elif kind == ",":
            yield _mailbox(member)
            member, after_comma = [], True
        elif kind == ":" and allow_groups and not (in_group or after_group):
            _phrase(member)
            member, in_group, after_comma = [], True, False
        elif kind == ";" and in_group:
            if after_comma or any(other[0] != "space" for other in member):
                yield _mailbox(member)
            member, in_group, after_group = [], False, True
        else:
            member.append(token)
    if in_group:
        raise HeaderSyntaxError("the group has no end")
    if after_group:
        _blank_only(member)
    else:
        yield _mailbox(member)


def _blank_only(tokens: list[_Token]) -> None:
    if any(kind not in {"space", "comment"} for kind, _ in tokens):
        raise HeaderSyntaxError("after a group comes a comma or the end")


def _phrase(tokens: list[_Token]) -> list[_Token]:
    if not any(kind in {"atom", "quoted"} for kind, _ in tokens):
        raise HeaderSyntaxError("a name is missing before the colon")
    if any(kind not in _PHRASE for kind, _ in tokens):
        raise HeaderSyntaxError("a display name with special characters must be quoted")
    return tokens


def _mailbox(tokens: list[_Token]) -> tuple[list[_Token], list[_Token]]:
    kinds = [kind for kind, _ in tokens]
    start, end = 0, len(kinds)
    while start < end and kinds[start] in {"space", "comment"}:
        start += 1
    while start < end and kinds[end - 1] in {"space", "comment"}:
        end -= 1
    if start == end:
        raise HeaderSyntaxError("an address is missing")
    if kinds[end - 1] != ">":
        return [], tokens[start:end]
    angle = kinds.index("<") if "<" in kinds else -1
    if angle < 0:
        raise HeaderSyntaxError("`>` without `<`")
    phrase = tokens[start:angle]
    return (_phrase(phrase) if phrase else []), tokens[angle + 1 : end - 1]


def _address(spec: list[_Token]) -> Address:
    kinds = [kind for kind, _ in spec]
    text = "".join(part for _, part in spec)
    if kinds.count("@") != 1 or not _ADDRESS.issuperset(kinds):
        raise HeaderSyntaxError(
            "each mailbox must be one address, with no spaces or comments in it"
        )
    if "=?" in text:
        raise HeaderSyntaxError("an address may not be an encoded word")
    try:
        return Address.parse(text)
    except AddressSyntaxError as error:
        raise HeaderSyntaxError(f"not a mail address: {error}") from error


def _display_name(phrase: list[_Token]) -> str | None:
    parts: list[str] = []
    for kind, text in phrase:
        if kind == "quoted":
            parts.append(re.sub(r"\\(.)", r"\1", text[1:-1]))
        elif kind == "space":
            parts.append(" ")
        elif kind != "comment":
            parts.append(text)
    name = encoded_word.decode("".join(parts).encode())
    return name or None
