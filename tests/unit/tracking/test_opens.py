"""tracking.opens: one test per row of the table in its docstring."""

from __future__ import annotations

import datetime as dt

import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

from gatewayd.tracking import opens
from gatewayd.tracking.opens import USER_AGENT_LENGTH, Act, Agent, By, Request

MACHINE = dt.timedelta(seconds=3)
LATER = dt.timedelta(hours=1)

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)
PEOPLE = [
    CHROME,
    f"{CHROME} Edg/141.0.0.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.3.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/141.0.0.0 Mobile Safari/537.36"
    ),
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17928; Pro)",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "Outlook-iOS/2.0",
]
SCANNERS = [
    ("Barracuda Sentinel (EE)", "Barracuda"),
    ("Mozilla/5.0 (compatible; Proofpoint URL Defense)", "Proofpoint"),
    ("Mimecast URL Protect", "Mimecast"),
    ("Microsoft Office SafeLinks Protection", "SafeLinks"),
    (f"{CHROME} Safe Links", "Safe Links"),
    ("Microsoft Office Existence Discovery", "Existence Discovery"),
    ("Mozilla/5.0 (Windows NT 10.0) HeadlessChrome/141.0", "HeadlessChrome"),
    (
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
        ),
        "Gmail scanner",
    ),
    ("", "no browser"),
]
CRAWLERS = [
    "curl/8.11.0",
    "python-requests/2.32.3",
    "Go-http-client/1.1",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "facebookexternalhit/1.1",
]
PROXIES = [
    (
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        "GoogleImageProxy",
    ),
    ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", "YahooMailProxy"),
    ("Mozilla/5.0", "Apple Mail Privacy Protection"),
]


def _judge(
    act: Act,
    user_agent: str = CHROME,
    *more: tuple[bytes, bytes],
    method: str = "GET",
    since: dt.timedelta | None = LATER,
) -> Agent:
    request = Request.read(method, [(b"user-agent", user_agent.encode()), *more])
    return opens.judge(act, request, since_delivery=since, machine=MACHINE)


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("user_agent", PEOPLE)
def test_browsers_and_mail_programs_are_people(act: Act, user_agent: str) -> None:
    assert Agent(By.PERSON, user_agent) == _judge(act, user_agent)


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize(("user_agent", "name"), SCANNERS)
def test_scanners_that_say_so(act: Act, user_agent: str, name: str) -> None:
    assert Agent(By.SCANNER, name) == _judge(act, user_agent)


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("user_agent", CRAWLERS)
def test_crawlers_of_the_list(act: Act, user_agent: str) -> None:
    assert _judge(act, user_agent).by is By.SCANNER


@pytest.mark.parametrize(("user_agent", "name"), PROXIES)
def test_image_proxies_at_a_pixel(user_agent: str, name: str) -> None:
    assert Agent(By.PROXY, name) == _judge(Act.OPEN, user_agent)


@pytest.mark.parametrize(("user_agent", "name"), PROXIES)
def test_image_proxies_do_not_follow_links(user_agent: str, name: str) -> None:
    """What does, and calls itself one, is a scanner."""
    seen = _judge(Act.CLICK, user_agent)

    assert seen.by is By.SCANNER
    assert name != "Apple Mail Privacy Protection" or seen.name == "no browser"


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("user_agent", [CHROME, "Mozilla/5.0", "curl/8"])
def test_head_is_a_scanner(act: Act, user_agent: str) -> None:
    assert Agent(By.SCANNER, "HEAD") == _judge(act, user_agent, method="HEAD")


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"purpose", b"prefetch"),
        (b"sec-purpose", b"prefetch;prerender"),
        (b"sec-purpose", b"prefetch;anonymous-client-ip"),
        (b"x-purpose", b"preview"),
        (b"x-moz", b"Prefetch"),
    ],
)
def test_a_browser_that_fetches_ahead_is_a_proxy(act: Act, name: bytes, value: bytes) -> None:
    assert Agent(By.PROXY, "prefetch") == _judge(act, CHROME, (name, value))


def test_another_purpose_says_nothing() -> None:
    assert _judge(Act.CLICK, CHROME, (b"purpose", b"click")).by is By.PERSON


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("seconds", [-3600, -1, 0, 1, 2.999])
def test_too_soon_after_delivery_is_a_scanner(act: Act, seconds: float) -> None:
    """Whatever it calls itself; before delivery, too."""
    seen = _judge(act, since=dt.timedelta(seconds=seconds))

    assert Agent(By.SCANNER, f"soon after delivery: {CHROME}") == seen


@pytest.mark.parametrize("since", [None, MACHINE, LATER])
def test_late_enough_or_of_unknown_time_is_a_person(since: dt.timedelta | None) -> None:
    assert Agent(By.PERSON, CHROME) == _judge(Act.OPEN, since=since)


def test_a_machine_keeps_its_name_however_soon() -> None:
    assert Agent(By.PROXY, "prefetch") == _judge(
        Act.OPEN, CHROME, (b"purpose", b"prefetch"), since=dt.timedelta(0)
    )


def test_only_the_beginning_of_a_user_agent_is_kept() -> None:
    """Its owner says how long it is, and what is in it; we show it."""
    request = Request.read("GET", [(b"user-agent", b"a\x1b[2J\xff<" + b"x" * 9000)])

    assert request.user_agent.startswith("a?[2J?<xx")
    assert len(request.user_agent) == USER_AGENT_LENGTH
    assert request.user_agent.isprintable()


def test_two_requests_that_look_alike_are_equal() -> None:
    """The recorder takes them for one."""
    headers = [(b"user-agent", CHROME.encode()), (b"accept", b"*/*")]

    assert Request.read("GET", headers) == Request.read("GET", headers[:1])
    assert Request.read("GET", headers) != Request.read("HEAD", headers)


def test_every_pattern_of_the_list_of_crawlers_is_asked() -> None:
    """The list is compiled in pieces here: none is left out, the last neither."""
    shown = [each["instances"][0] for each in CRAWLER_USER_AGENTS_DATA if each["instances"]]

    people = [
        text
        for text in (*shown[::10], shown[-1])
        if not opens.recognise(
            Act.CLICK, Request(method="GET", user_agent=text[:USER_AGENT_LENGTH], is_ahead=False)
        ).is_machine
    ]

    assert people == []
