"""tracking.links: what we sign comes back, and nothing else does."""

from __future__ import annotations

import base64
import itertools
import string
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd import ids
from gatewayd.ids import RecipientId
from gatewayd.keys import rotate
from gatewayd.keys.ring import KeyRing, Purpose, new_ring
from gatewayd.tracking.links import FIND_LIMIT, TOKEN_LENGTH, Kind, Links
from tests.fakes.clock import NOW
from tests.unit.mail.stopwatch import assert_linear

BASE = "https://gw.example"
BOB = RecipientId("01936f1e-0000-7000-8000-000000000001")
CAT = RecipientId("01936f1e-0000-7000-8000-000000000002")
URL = "https://www.example.org/shop?id=1&name=caf\u00e9&next=%2Fhome#top"
RING = new_ring(Purpose.TRACKING, created_at=NOW)
LINKS = Links(RING, BASE)
ALPHABET = string.ascii_letters + string.digits + "-_"


def _open(links: Links = LINKS, recipient_id: RecipientId = BOB) -> str:
    return urlsplit(links.open_url(recipient_id)).path.removeprefix("/track/open/")[:-4]


def _click(links: Links = LINKS, recipient_id: RecipientId = BOB) -> tuple[str, str, str]:
    """Token, URL and signature."""
    parts = urlsplit(links.click_url(recipient_id, URL))
    query = dict(parse_qsl(parts.query, strict_parsing=True))
    return parts.path.removeprefix("/track/click/"), query["url"], query["sig"]


def _unsubscribe(links: Links = LINKS, recipient_id: RecipientId = BOB) -> str:
    return urlsplit(links.unsubscribe_url(recipient_id)).path.removeprefix("/unsubscribe/")


def _flips(text: str) -> list[str]:
    """The text with each of its bits turned once, and with each character of base64url."""
    spellings = {
        text[:at] + other + text[at + 1 :]
        for at, character in enumerate(text)
        for other in {*ALPHABET, *(chr(ord(character) ^ 1 << bit) for bit in range(8))}
    }
    return sorted(spellings - {text})


def test_what_was_made_is_read() -> None:
    assert LINKS.read_open(_open()) == BOB
    assert LINKS.read_click(*_click()) == BOB
    assert LINKS.read_unsubscribe(_unsubscribe()) == BOB
    assert _click()[1] == URL


def test_urls_have_the_shape_that_is_public() -> None:
    """A base URL may end with a slash, and have a path."""
    links = Links(RING, "https://gw.example/mail/")

    assert links.open_url(BOB) == f"https://gw.example/mail/track/open/{_open()}.gif"
    assert links.click_url(BOB, "http://a.example/").startswith(
        f"https://gw.example/mail/track/click/{_click()[0]}?url=http%3A%2F%2Fa.example%2F&sig="
    )
    assert links.unsubscribe_url(BOB) == f"https://gw.example/mail/unsubscribe/{_unsubscribe()}"
    assert {len(_open()), len(_click()[0]), len(_unsubscribe())} == {TOKEN_LENGTH}


def test_the_same_recipient_always_has_the_same_urls() -> None:
    """Every try of a delivery sends the same octets."""
    again = Links(RING, BASE)

    assert LINKS.open_url(BOB) == again.open_url(BOB)
    assert LINKS.click_url(BOB, URL) == again.click_url(BOB, URL) == again.clicks(BOB)(URL)
    assert LINKS.unsubscribe_url(BOB) == again.unsubscribe_url(BOB)


def test_a_token_tells_neither_id_nor_order() -> None:
    """Ids that follow each other share no octet at the same place more often than chance has it."""
    tokens = [
        base64.urlsafe_b64decode(_open(recipient_id=ids.recipient_id(NOW))[1:] + "=")
        for _ in range(200)
    ]
    shared = sum(
        a == b for one, two in itertools.pairwise(tokens) for a, b in zip(one, two, strict=True)
    )

    assert shared < 60  # of 5174; 20 are to be expected
    assert BOB.replace("-", "") not in _open() + LINKS.click_url(BOB, URL)


def test_a_token_with_one_bit_turned_is_not_read() -> None:
    """Not one of them, of no kind."""
    click, url, sig = _click()

    assert {LINKS.read_open(one) for one in _flips(_open())} == {None}
    assert {LINKS.read_unsubscribe(one) for one in _flips(_unsubscribe())} == {None}
    assert {LINKS.read_click(one, url, sig) for one in _flips(click)} == {None}
    assert {LINKS.read_click(click, url, one) for one in _flips(sig)} == {None}
    assert {LINKS.read_click(click, one, sig) for one in _flips(url)} == {None}


@pytest.mark.parametrize("more", ["=", "A", "\n", " ", ".gif", "\0", "%3D"])
def test_a_token_has_one_spelling(more: str) -> None:
    token, url, sig = _click()

    assert LINKS.read_open(_open() + more) is None
    assert LINKS.read_open(more + _open()) is None
    assert LINKS.read_click(token + more, url, sig) is None
    assert LINKS.read_click(token, url, sig + more) is None


@pytest.mark.parametrize(
    "token", ["", "a", "\u0430" + "A" * 35, "a" + "A" * 35, "z" * 36, "/" * 36]
)
def test_what_is_no_token_is_not_read(token: str) -> None:
    _, url, sig = _click()

    assert LINKS.read_open(token) is None
    assert LINKS.read_unsubscribe(token) is None
    assert LINKS.read_click(token, url, sig) is None


def test_kinds_do_not_stand_in_for_each_other() -> None:
    """Keys differ by purpose."""
    click, url, sig = _click()

    assert LINKS.read_open(click) is LINKS.read_open(_unsubscribe()) is None
    assert LINKS.read_unsubscribe(click) is LINKS.read_unsubscribe(_open()) is None
    assert LINKS.read_click(_open(), url, sig) is None
    assert LINKS.read_click(_unsubscribe(), url, sig) is None


def test_a_signature_is_for_one_recipient_and_one_url() -> None:
    token, url, sig = _click()
    other, _, others_sig = _click(recipient_id=CAT)

    assert LINKS.read_click(token, url, others_sig) is None
    assert LINKS.read_click(other, url, sig) is None
    assert LINKS.read_click(token, url + "x", sig) is None
    assert LINKS.read_click(token, "https://evil.example/", sig) is None


HOSTILE = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "ftp://a.example/",
    "mailto:a@b.example",
    "//evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https://",
    "https://?x",
    "https://#x",
    "https://:80/",
    "https://@evil.example/",
    "https://good.example\\@evil.example/",
    "https:\\\\evil.example/",
    "https://a.example /",
    " https://a.example/",
    "https://a.example/\r\nSet-Cookie: a=b",
    "https://a.example/\r\n\r\n<script>",
    "https://a.example/\n",
    "https://a.example/\0",
    "https://a.example/\x7f",
    "https://a.example/\u2028",
    "https://a.example/\ud800",
    "https%3A%2F%2Fa.example%2F",
    "/relative",
    "",
    "https://a.example/" + "x" * 2048,
]


@pytest.mark.parametrize("url", HOSTILE)
def test_a_redirect_that_must_not_be_is_neither_made_nor_read(url: str) -> None:
    """Even with a signature that is right: an older version may have made it."""
    keys = LINKS._rings.keys[Kind.CLICK][RING.active.kid]
    sealed = keys.seal(BOB)
    signed = keys.sign(sealed, url.encode("utf-8", "surrogatepass"))
    sig = base64.urlsafe_b64encode(signed).decode().rstrip("=")

    assert LINKS.click_url(BOB, url) == url
    assert LINKS.read_click(_click()[0], url, sig) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example",
        "HTTPS://A.example:8443/x?y=z#w",
        "https://user@a.example/",
        "https://[2001:db8::1]/",
        "https://m\u00fcnchen.example/stra\u00dfe?q=\u20ac",
        "https://a.example/a b\\c?x=<>\"'",
        "https://a.example/?next=https%3A%2F%2Fb.example%2F&x=%2525",
    ],
)
def test_any_web_address_comes_back_as_it_was(url: str) -> None:
    query = dict(parse_qsl(urlsplit(LINKS.click_url(BOB, url)).query, strict_parsing=True))

    assert url == query["url"]
    assert LINKS.read_click(_click()[0], query["url"], query["sig"]) == BOB


def test_rotation_keeps_what_was_delivered() -> None:
    """The next key reads before it signs; the old one until it is dropped."""
    begun = rotate.begin(RING, now=NOW)
    switched = rotate.switch(begun)
    finished = rotate.finish(switched, still_needed=0)
    links = Links(RING, BASE)
    old, new = _click(), _click(Links(switched, BASE))

    assert old[0][0] != new[0][0]
    for ring, reads_old, reads_new in (
        (RING, BOB, None), (begun, BOB, BOB), (switched, BOB, BOB), (finished, None, BOB),
    ):  # fmt: skip
        links.use(ring)
        assert (links.read_click(*old), links.read_click(*new)) == (reads_old, reads_new)
        assert links.read_open(_open()) == reads_old
        assert _click(links) == (new if ring in (switched, finished) else old)


def test_a_key_id_of_another_key_does_not_help() -> None:
    """The id of the key is bound, because another key makes another MAC."""
    switched = rotate.switch(rotate.begin(RING, now=NOW))
    kids = {key.kid for key in switched.keys}

    for kid in kids - {_open()[0]}:
        assert Links(switched, BASE).read_open(kid + _open()[1:]) is None


def test_another_installation_reads_nothing_of_ours() -> None:
    other = Links(new_ring(Purpose.TRACKING, created_at=NOW), BASE)

    assert other.read_open(_open()) is other.read_unsubscribe(_unsubscribe()) is None
    assert other.read_click(*_click()) is None
    assert other.find(LINKS.open_url(BOB).encode()) == set()


@given(st.text(ALPHABET, min_size=35, max_size=35), st.text(), st.text(ALPHABET, max_size=20))
def test_nobody_guesses_a_token(text: str, url: str, sig: str) -> None:
    """Of any shape, under the key that is in use."""
    token = RING.active.kid + text

    assert LINKS.read_open(token) is LINKS.read_unsubscribe(token) is None
    assert LINKS.read_click(token, url, sig) is None
    assert LINKS.read_click(_click()[0], url, sig) is None


@given(st.uuids())
def test_every_uuid_comes_back(value: object) -> None:
    ident = RecipientId(str(value))

    assert ident == LINKS.read_open(_open(recipient_id=ident))


@pytest.mark.parametrize("ident", ["", "01936f1e", "not-an-id", "01936f1e" * 5])
def test_an_id_that_is_no_uuid_is_our_mistake(ident: str) -> None:
    with pytest.raises(ValueError, match=r"UUID|fromhex"):
        LINKS.open_url(RecipientId(ident))


def test_threads_make_urls_at_the_same_time() -> None:
    """Messages are rendered on threads; nobody gets another's token."""
    wanted = [ids.recipient_id(NOW) for _ in range(2000)]
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(lambda one: _open(recipient_id=one), wanted))
        read = list(threads.map(LINKS.read_open, tokens))

    assert wanted == read


class TestFind:
    """Everybody whose URL stands in a text."""

    def test_urls_of_every_kind(self) -> None:
        dan = ids.recipient_id(NOW)
        text = (
            f"<a href='{LINKS.click_url(BOB, URL)}'>x</a>\r\n<img src={LINKS.open_url(CAT)}>\r\n"
            f"List-Unsubscribe: <{LINKS.unsubscribe_url(dan)}>\r\n{LINKS.open_url(CAT)}\r\n"
        )

        assert LINKS.find(text.encode()) == {BOB, CAT, dan}

    @pytest.mark.parametrize("end", [b"=\r\n", b"=\n", b"= \t\r\n"])
    def test_in_lines_of_quoted_printable(self, end: bytes) -> None:
        """(RFC 2045 6.7)."""
        url = LINKS.unsubscribe_url(BOB).encode()

        for at in range(len(url)):
            assert LINKS.find(url[:at] + end + url[at:]) == {BOB}

    def test_in_a_link_that_another_has_wrapped(self) -> None:
        wrapped = "https://safe.example/?url=https%3A%2F%2Fgw.example%2Ftrack%2Fclick%2F"

        assert LINKS.find(f"{wrapped}{_click()[0]}%3Furl%3D".encode()) == {BOB}
        assert LINKS.find(f"{wrapped.lower()}{_click()[0]}%3Furl%3D".encode()) == {BOB}

    def test_what_is_forged_or_of_another_kind_is_nobody(self) -> None:
        forged = "\n".join(f"/unsubscribe/{one}" for one in _flips(_unsubscribe())[:300])
        mixed = f"/unsubscribe/{_open()} /track/open/{_click()[0]}.gif {_open()}"

        assert LINKS.find(forged.encode()) == set()
        assert LINKS.find(mixed.encode()) == set()

    def test_many_places_are_not_all_tried(self) -> None:
        """What comes from outside does not say how much work it is."""
        decoy = b"/unsubscribe/a" + b"A" * 35 + b" "
        url = LINKS.unsubscribe_url(BOB).encode()

        assert LINKS.find(decoy * (FIND_LIMIT - 1) + url) == {BOB}
        assert LINKS.find(decoy * FIND_LIMIT + url) == set()

    @pytest.mark.slow
    @pytest.mark.parametrize("piece", [b"open/", b"click/aAAAAAAA", b"= \t", b"unsubscribe%2f"])
    def test_time_grows_with_the_text_only(self, piece: bytes) -> None:
        assert_linear(lambda count: LINKS.find(piece * count), 20_000)


def test_only_a_ring_of_tracking_keys_is_needed() -> None:
    """Whatever its keys are: next and old ones too."""
    ring: KeyRing = rotate.begin(RING, now=NOW)

    assert Links(ring, BASE).read_open(_open()) == BOB
