"""Pages that recipients see. Nothing in them comes from a request, so each is rendered once.

| page      | status | when                                                     |
|-----------|--------|----------------------------------------------------------|
| ASK       | 200    | somebody followed an unsubscribe link: a button          |
| DONE      | 200    | the button was pressed                                   |
| UNKNOWN   | 404    | a link that we did not make, or whose recipient is gone  |
| UNCLEAR   | 400    | a POST that does not say what RFC 8058 wants it to say   |
| TOO_LARGE | 413    | a POST of more than any form has                         |
| TOO_MANY  | 429    | over the rate                                            |
| LATER     | 503    | the store does not answer                                |

No script, no cookie, nothing from elsewhere; the one style is allowed by its hash. No page shows an
address: mail is forwarded, with its links, and whoever follows one may be somebody else.

All are rendered when the first is asked for, on a thread: Jinja is 2.4 MiB, and not every daemon
needs it.
"""

from __future__ import annotations

import asyncio
import base64
import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.types import Send

from gatewayd.mail import unsubscribe

_DIRECTORY: Final = Path(__file__).parent / "templates"

BY_PAGE: Final = ("by", "page")  # what tells the button from a mail program's one-click


class Page(enum.Enum):
    """Status, title, text, and the button if there is one."""

    ASK = (
        200,
        "Unsubscribe",
        "You will get no more mail from this sender at the address that this link was sent to.",
        "Unsubscribe",
    )
    DONE = (
        200,
        "You are unsubscribed",
        "You will get no more mail from this sender. What is on its way already may still arrive.",
        "",
    )
    UNKNOWN = (
        404,
        "This link does not work",
        "It is not complete, or too old. Try it again from the message, or copy all of it.",
        "",
    )
    UNCLEAR = (
        400,
        "Nothing was changed",
        "The request was not understood. Open the link from the message and use its button.",
        "",
    )
    TOO_LARGE = (413, "Nothing was changed", "The request was too large.", "")
    TOO_MANY = (429, "Too many requests", "Wait a minute and try it again.", "")
    LATER = (503, "Not possible now", "Nothing was changed. Try it again in a minute.", "")

    def __init__(self, status: int, title: str, text: str, button: str) -> None:
        self.status = status
        self.title = title
        self.text = text
        self.button = button


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rendered:
    """Every page as octets, and the fields of a response that all have."""

    octets: Mapping[Page, bytes]
    headers: tuple[tuple[bytes, bytes], ...]


class Pages:
    """Answers with them."""

    def __init__(self) -> None:
        self._rendered: _Rendered | None = None

    async def send(self, page: Page, send: Send, *, retry_after_s: int | None = None) -> None:
        """Answer with a page."""
        if self._rendered is None:
            self._rendered = await asyncio.to_thread(_render)
        octets = self._rendered.octets[page]
        headers = [*self._rendered.headers, (b"content-length", b"%d" % len(octets))]
        if retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % retry_after_s))
        await send({"type": "http.response.start", "status": page.status, "headers": headers})
        await send({"type": "http.response.body", "body": octets})


def _render() -> _Rendered:
    import jinja2  # noqa: PLC0415 - not before a page is asked for

    style = (_DIRECTORY / "page.css").read_text("utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_DIRECTORY),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    template = environment.get_template("page.html")
    octets = {
        page: template.render(
            title=page.title,
            text=page.text,
            button=page.button,
            fields=(unsubscribe.PAIR, BY_PAGE),
            style=style,
        ).encode()
        for page in Page
    }
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return _Rendered(
        octets=octets,
        headers=(
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", policy.encode("ascii")),
        ),
    )
