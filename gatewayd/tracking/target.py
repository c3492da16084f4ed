"""Which link is tracked, and as what address: the rules of a browser for what stands in an href.

| href                                                         | tracked |
|--------------------------------------------------------------|---------|
| http and https with a host, in any case, white space around  | yes     |
| mailto, tel, javascript, data, cid, any other scheme         | no      |
| relative, `//host/`, `#anchor`, empty                        | no      |
| with a placeholder, as below                                 | no      |
| one of our own: open, click, unsubscribe                     | no      |
| with a control character, or longer than 2048 characters     | no      |
| a query that is not ASCII and cannot be told in the charset  | no      |

What a template engine has left, or what one further on is to fill in, is known by its marks:
`{{x}}` `{x}` `${x}` `{% x %}` `<%= x %>` `*|X|*` `%%x%%` `%x.y%` `[[x]]`, and `[x]` behind a slash
or an equals sign. `list[]=1` and `f[name]=x` are not taken for one.

Character references are read as in an attribute (HTML 13.2.5.73): `&copy=1` stays what it is. White
space around the address and line ends and tabs inside it are no part of it (URL 4.4).
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.entities import html5
from urllib.parse import quote

MAX_URL = 2048  # characters; what proxies and mail scanners commonly take

_REFERENCE = re.compile(r"&(?:#(?:[xX][0-9a-fA-F]+|[0-9]+);?|([A-Za-z][A-Za-z0-9]*)(;?))(?=(=?))")
_AROUND = "".join(map(chr, range(0x21)))
_ASCII = "".join(map(chr, range(0x20, 0x7F)))
_INSIDE = str.maketrans("", "", "\t\n\r")
_WEB = re.compile(r"https?://[^/\\?#:@\s][^/\\?#\s]*+(?:[/?#]|\Z)", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd\ud800-\udfff]")
_PLACEHOLDER = re.compile(
    r"[{}<>]|%7b%7b|\*\||%%|\[\[|[/=]\[[a-z_][\w.-]*\]|%(?![0-9a-f]{2})[a-z_][\w.-]*%",
    re.IGNORECASE,
)
_OURS_SOMEWHERE = (
    r"https?://[^?#]*/(?:track/(?:open/[\w-]+\.gif|click/[\w-]+\?)|unsubscribe/[\w-]+$)"
)


def ours(base_url: str) -> Callable[[str], bool]:
    """Tells addresses that we made. Without a base URL they are known by their shape."""
    if base_url:
        base = re.escape(base_url.rstrip("/"))
        pattern = re.compile(rf"{base}/(?:track/|unsubscribe/)", re.IGNORECASE)
    else:
        pattern = re.compile(_OURS_SOMEWHERE, re.IGNORECASE)
    return lambda url: pattern.match(url) is not None


def read(href: str, codec: str | None) -> str | None:
    """The address that a browser would go to, or None if the link stays as it is.

    Args:
        href: what stands in the attribute, its character references not yet read.
        codec: of the document, which encodes a query (URL 4.4); None if it is not known.
    """
    if len(href) > 4 * MAX_URL:
        return None
    url = _REFERENCE.sub(_dereference, href).strip(_AROUND).translate(_INSIDE)
    if not _WEB.match(url) or len(url) > MAX_URL:
        return None
    if _CONTROL.search(url) or _PLACEHOLDER.search(url):
        return None
    return url if url.isascii() else _with_query(url, codec)


def _dereference(match: re.Match[str]) -> str:
    name, end, equals = match[1], match[2], match[3]
    if name is None:
        return html.unescape(match[0]) or "\x01"  # stands for what HTML does not allow
    if end:
        return html5.get(name + end, match[0])
    return match[0] if equals else html5.get(name, match[0])


def _with_query(url: str, codec: str | None) -> str | None:
    before, mark, rest = url.partition("?")
    query, hash_mark, fragment = rest.partition("#")
    if query.isascii() or codec in {"utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"}:
        return url
    if codec is None or "#" in before:
        return None
    try:
        octets = query.encode(codec)
    except UnicodeError:
        return None
    return before + mark + quote(octets, safe=_ASCII) + hash_mark + fragment
