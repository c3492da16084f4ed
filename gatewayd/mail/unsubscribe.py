"""List-Unsubscribe and one-click: header fields, and the body that means yes (RFC 2369, RFC 8058).

```
List-Unsubscribe: <https://gw.example/unsubscribe/a...>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
```

Both have to be under a DKIM signature (RFC 8058 4); `dkim/sign.py` covers them, and what nobody
signs gets the first alone. The link is https, because mail programs refuse another one (RFC 8058
3.1); http is made only for tests on loopback.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

FIELD: Final = "List-Unsubscribe"
POST_FIELD: Final = "List-Unsubscribe-Post"
PAIR: Final = ("List-Unsubscribe", "One-Click")  # RFC 8058 3.1
PARTS: Final = 8  # of a form; we have two

_URL: Final = re.compile(r"https?://[!-;=?-~]+").fullmatch
_BOUNDARY: Final = re.compile(
    rb"multipart/form-data[ \t]*;(?:[^\r\n]*;)?[ \t]*"
    rb"boundary=(?:\"([^\"\r\n]{1,70})\"|([^\s;\"]{1,70}))",
    re.IGNORECASE,
).match
_NAME: Final = re.compile(
    rb"content-disposition:[ \t]*form-data[ \t]*;[ \t]*name=\"?([A-Za-z-]+)\"?", re.IGNORECASE
).search


def fields(url: str, *, one_click: bool) -> tuple[tuple[str, str], ...]:
    """Names and values of the fields, in order; the second only for mail that is signed.

    Raises:
        ValueError: not a URL that can stand between angle brackets.
    """
    if _URL(url) is None:
        raise ValueError("the URL to unsubscribe by is not one")
    link = (FIELD, f"<{url}>")
    return (link, (POST_FIELD, "=".join(PAIR))) if one_click else (link,)


def read_form(content_type: bytes, octets: bytes) -> dict[str, str]:
    """Names and values of a form, either of the two kinds (RFC 8058 3.2).

    Another kind, or what is no form, has none. Only the first 8 fields are read.
    """
    if content_type.partition(b";")[0].strip().lower() == b"application/x-www-form-urlencoded":
        try:
            return dict(parse_qsl(octets.decode("ascii"), max_num_fields=PARTS))
        except ValueError:
            return {}
    boundary = _BOUNDARY(content_type)
    if boundary is None:
        return {}
    return _parts(octets, b"--" + (boundary[1] or boundary[2]))


def is_one_click(form: dict[str, str]) -> bool:
    """Whether a form says what RFC 8058 3.1 wants it to say."""
    name, value = PAIR
    return form.get(name) == value


def _parts(octets: bytes, delimiter: bytes) -> dict[str, str]:
    """The fields of a multipart form (RFC 7578 4); what is malformed is left out."""
    found: dict[str, str] = {}
    for part in octets.split(delimiter)[1 : PARTS + 1]:
        head, gap, value = part.partition(b"\r\n\r\n")
        name = _NAME(head)
        if gap and name is not None:
            found[name[1].decode("ascii")] = value.removesuffix(b"\r\n").decode("ascii", "replace")
    return found
