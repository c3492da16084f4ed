"""Who fetched a pixel or followed a link: a person, a proxy for one, or a scanner.

The first row that fits:

| what is seen                                                  | by      | told as             |
|---------------------------------------------------------------|---------|---------------------|
| HEAD                                                          | scanner | HEAD                |
| Purpose, Sec-Purpose, X-Purpose, X-Moz: prefetch, preview     | proxy   | prefetch            |
| GoogleImageProxy, YahooMailProxy and their like, at a pixel   | proxy   | its word            |
| `Mozilla/5.0` and nothing more, at a pixel                    | proxy   | Apple Mail Privacy  |
|                                                               |         | Protection          |
| the same at a link; no User-Agent                             | scanner | no browser          |
| Safe Links, Barracuda, Proofpoint, Mimecast and their like    | scanner | its word            |
| Gmail as it looks into mail on arrival                        | scanner | Gmail scanner       |
| what the list of crawlers knows, curl and the like too        | scanner | its User-Agent      |
| less than `tracking.machine_s` after delivery, or before it   | scanner | soon after delivery |
| anything else                                                 | person  | its User-Agent      |

A proxy fetches because mail is shown, or may be: Gmail's when a person looks, Apple's in any case.
A scanner follows whatever stands in mail. Neither says that somebody read it. Many scanners call
themselves a browser: only the time gives those away, and not all of them.

A User-Agent is looked at up to 256 characters, and remembered: the list has 1500 patterns.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from gatewayd.ids import RecipientId

USER_AGENT_LENGTH: Final = 256

_REMEMBERED: Final = 4096
_PIECE: Final = 25  # patterns that are compiled together: 0.2 ms
_PAUSE_S: Final = 0.001
_APPLE: Final = "Mozilla/5.0"
_GMAIL: Final = re.compile(r"Gmail-content-sampling|Edge/12\.246 Mozilla/5\.0\Z").search
_PROXY: Final = re.compile(
    r"GoogleImageProxy|YahooMailProxy|ymail-?proxy|mail\.ru.{0,40}proxy|YandexImage\w*|Superhuman"
    r"|(?:image|mail)-?proxy|ProtonMail.{0,20}Proxy",
    re.IGNORECASE,
).search
_SCANNER: Final = re.compile(
    r"safe ?links|Existence Discovery|URL-?Analyzer|Microsoft-CryptoAPI|Barracuda|Proofpoint"
    r"|URL ?Defense|Mimecast|Symantec|MessageLabs|IronPort|Cisco[- ]|FireEye|Trellix|Forcepoint"
    r"|Websense|Sophos|TrendMicro|Trend Micro|Bitdefender|Avanan|Check ?Point|Zscaler|Forti\w+"
    r"|Hornetsecurity|VadeSecure|SpamTitan|SpamExperts|Trustwave|Retarus|Cloudmark|Rspamd"
    r"|SpamAssassin|link[- ]?(?:check|scan|expand)\w*|HeadlessChrome|PhantomJS",
    re.IGNORECASE,
).search
_AHEAD: Final = re.compile(rb"prefetch|prerender|preview", re.IGNORECASE).search
_HIDDEN: Final = re.compile(rb"[^ -~]")
_PURPOSE: Final = frozenset({b"purpose", b"sec-purpose", b"x-purpose", b"x-moz"})


class Act(enum.StrEnum):
    """What was asked for; the label `kind` of the metric."""

    OPEN = "open"
    CLICK = "click"


class By(enum.StrEnum):
    """Who asked; a word of the events."""

    PERSON = "person"
    PROXY = "proxy"
    SCANNER = "scanner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a request tells about its sender. No address: it is not kept.

    user_agent: at most USER_AGENT_LENGTH characters of it.
    """

    method: str
    user_agent: str
    is_ahead: bool  # a browser says that nobody has asked for it yet

    @classmethod
    def read(cls, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Request:
        """From the fields of a request, whose names are in lower case."""
        user_agent, is_ahead = b"", False
        for name, value in headers:
            if name == b"user-agent":
                user_agent = value[:USER_AGENT_LENGTH]
            elif name in _PURPOSE:
                is_ahead = is_ahead or _AHEAD(value) is not None
        shown = _HIDDEN.sub(b"?", user_agent.strip()).decode("ascii")
        return cls(method=method, user_agent=shown, is_ahead=is_ahead)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One open or click, as it was seen. url: where a click led to; empty for an open."""

    act: Act
    recipient_id: RecipientId
    at: dt.datetime
    request: Request
    url: str = ""


@dataclass(frozen=True, slots=True)
class Agent:
    """Who it was, and what gave it away."""

    by: By
    name: str

    @property
    def is_machine(self) -> bool:
        return self.by is not By.PERSON


def judge(
    act: Act, request: Request, *, since_delivery: dt.timedelta | None, machine: dt.timedelta
) -> Agent:
    """The table above.

    Args:
        act: what was asked for.
        request: by whom.
        since_delivery: less than nothing if it was before; None if it is not known when that was.
        machine: `tracking.machine_s`.
    """
    agent = recognise(act, request)
    if agent.is_machine or since_delivery is None or since_delivery >= machine:
        return agent
    return Agent(By.SCANNER, f"soon after delivery: {agent.name}")


def recognise(act: Act, request: Request) -> Agent:
    """The table but for its time. A new User-Agent takes half a millisecond, the first 0.1 s."""
    if request.method == "HEAD":
        return Agent(By.SCANNER, "HEAD")
    if request.is_ahead:
        return Agent(By.PROXY, "prefetch")
    return _by_name(act, request.user_agent)


@functools.lru_cache(maxsize=_REMEMBERED)
def _by_name(act: Act, user_agent: str) -> Agent:
    if act is Act.OPEN and (proxy := _PROXY(user_agent)):
        return Agent(By.PROXY, proxy[0])
    if act is Act.OPEN and user_agent == _APPLE:
        return Agent(By.PROXY, "Apple Mail Privacy Protection")
    if user_agent in {"", _APPLE}:
        return Agent(By.SCANNER, "no browser")
    if name := _scanner(user_agent):
        return Agent(By.SCANNER, name)
    return Agent(By.PERSON, user_agent)


def _scanner(user_agent: str) -> str:
    """The name of a scanner, or nothing."""
    if found := _SCANNER(user_agent):
        return found[0]
    if _GMAIL(user_agent):
        return "Gmail scanner"
    return user_agent if _is_crawler(user_agent) else ""


def _is_crawler(user_agent: str) -> bool:
    return any(search(user_agent) for search in _crawlers())


@functools.cache
def _crawlers() -> tuple[Callable[[str], object], ...]:
    """The list, read and compiled: 20 ms, and 2 MiB from then on.

    In pieces with a pause after each. The loop waits 5 ms for an interpreter that a thread does not
    let go, with each of its callbacks: all that comes meanwhile would wait 40 ms.
    """
    import crawleruseragents  # noqa: PLC0415 - who sends no tracked mail does not need it

    patterns = [each["pattern"] for each in crawleruseragents.CRAWLER_USER_AGENTS_DATA]
    compiled = []
    for at in range(0, len(patterns), _PIECE):
        compiled.append(re.compile("|".join(patterns[at : at + _PIECE])).search)
        time.sleep(_PAUSE_S)
    return tuple(compiled)
