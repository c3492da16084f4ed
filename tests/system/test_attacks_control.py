r"""What only operators touch, under attack: the control socket, and what strangers had stored.

One daemon stands for the whole file. Texts of strangers come by every way there is (fields of a
message, replies of the next hop, reports), and are looked at by every way there is (the API, the
control socket, commands, a file for a spreadsheet).
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import re
import smtplib
import stat
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from gatewayd.cli.main import main
from tests.peers.target import MAIL, Target, target
from tests.peers.waiting import eventually
from tests.peers.wire import Answer, Wire, request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SOON_S = 60.0
MIB = 1_048_576
BOUNCES = "bounces.test"
XSS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>",
    "<body onload=alert(1)>", "<iframe src=javascript:alert(1)>", '"><script>alert(1)</script>',
    "'><script>alert(1)</script>", "</title><script>alert(1)</script>", "</script><script>",
    "<a href=javascript:alert(1)>x</a>", '<math><mi//xlink:href="data:x,<script>">',
    "<input autofocus onfocus=alert(1)>", "<details open ontoggle=alert(1)>", "<object data=x>",
    "<embed src=x>", "<base href=//evil.test>", "<meta http-equiv=refresh content=0>",
    "<link rel=stylesheet href=//x>", "<style>@import'//x'</style>", "<form action=//x><button>",
    "<textarea></textarea><script>", "<!--<script>-->", "<![CDATA[<script>]]>", "<xmp><script>",
    "javascript:alert(1)", "data:text/html,<script>", "&lt;script&gt;", "&#60;script&#62;",
    "\\x3cscript\\x3e", "\\u003cscript\\u003e", "%3Cscript%3E", "+ADw-script+AD4-",
    "{{constructor.constructor('x')()}}", "${alert(1)}", "<%= x %>", "#{x}", "{% x %}",
    "`-alert(1)-`", "');alert(1);//", '=HYPERLINK("http://evil.test")',
)  # fmt: skip
ESCAPES = (
    "\x1b]0;pwn\x07", "\x1b[2J\x1b[1;1H", "\x1b[31mred", "\x9b31mred", "\x90q\x9c", "a\rb",
    "a\x08b", "a\x7fb", "a\u202etxt.exe", "\u2066a", "\ufeffa", "a\u2028b",
)  # fmt: skip
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")


def told(text: str) -> bytes:
    """A reply to RCPT with this text in it."""
    return f"550 5.1.1 {text}\r\n".encode().replace(b"\x00", b"")


REFUSED = {
    f"refused-{number}@rcpt.test": told(text.replace("\r", " "))
    for number, text in enumerate((*XSS, *ESCAPES))
}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("control"), bounces=BOUNCES, refused=REFUSED) as running:
        yield running


@pytest.fixture(autouse=True)
def _goes_on(attacked: Target) -> Iterator[None]:
    """Whatever was done to it, the next message arrives, commands work, nothing broke inside."""
    yield
    assert attacked.operate("GET", "/status").status == 200
    attacked.assert_goes_on()


# The control socket.


def test_nobody_else_may_connect_to_the_control_socket(attacked: Target) -> None:
    """Its mode is what guards it."""
    found = attacked.control_socket.stat()

    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) & 0o177 == 0
    assert stat.S_IMODE(attacked.gateway.state_dir.stat().st_mode) == 0o700


def noise(seed: int, length: int) -> bytes:
    """Octets that look random and are always the same."""
    return hashlib.shake_128(b"%d" % seed).digest(length)


def frames() -> Iterator[bytes]:
    """Two thousand: noise, and good requests with some octets changed."""
    good = [
        request("GET", "/status"), request("GET", "/mailboxes"),
        request("GET", "/tokens?mailbox=x"),
        request("POST", "/tokens", body=b'{"mailbox": "nobody@sender.test", "hourly": 5}'),
        request("POST", "/suppressions", body=b'{"address": "x@rcpt.test", "reason": "manual"}'),
        request("GET", "/suppressions/test?address=x@rcpt.test"),
        request("POST", "/bounces", body=b"Subject: x\r\n\r\nx\r\n"),
        request("GET", "/messages/01936f1e-0000-7000-8000-000000000001/explain"),
    ]  # fmt: skip
    for number in range(2000):
        dice = noise(number, 64)
        if number % 4 == 0:
            yield noise(number, 1 + dice[0] * 4)
            continue
        octets = bytearray(good[dice[0] % len(good)])
        for at in range(1 + dice[1] % 6):
            octets[int.from_bytes(dice[2 + at * 3 : 4 + at * 3]) % len(octets)] = dice[4 + at * 3]
        yield bytes(octets)


def test_two_thousand_frames_of_noise_change_nothing(attacked: Target) -> None:
    """Each on a connection of its own, which is dropped at once."""
    for frame in frames():
        with Wire(attacked.control_socket) as wire, contextlib.suppress(ConnectionError):
            wire.send(frame)
    items = attacked.operate("GET", "/mailboxes").json["items"]

    assert [row["address"] for row in items] == ["agent@sender.test", "other@sender.test"]


def test_half_a_frame_holds_nobody_up(attacked: Target) -> None:
    """Commands go on while a hundred others do not say what they want."""
    whole = request("POST", "/suppressions", body=b'{"address": "x@rcpt.test"}')
    with contextlib.ExitStack() as stack:
        for number in range(100):
            wire = stack.enter_context(Wire(attacked.control_socket))
            wire.send(whole[: 1 + number * len(whole) // 101])

        assert attacked.operate("GET", "/status").status == 200
        attacked.assert_goes_on()


@pytest.mark.parametrize("form", ["length", "chunks", "header", "noise"])
def test_a_frame_of_a_hundred_mib_is_cut(attacked: Target, form: str) -> None:
    """It is refused, and what still comes is dropped: nothing of it is kept in memory."""
    block = b"a" * 65_536
    head, block, statuses = {
        "length": (f"Content-Length: {100 * MIB}\r\n\r\n", block, {413}),
        "chunks": ("Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n%s\r\n" % block, {400, 413}),
        "header": ("X: ", block, {400, 431}),
        "noise": ("\r\n\r\n\x00", block, {400, 415, 422}),
    }[form]
    first = "POST /tokens HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    before = attacked.resident()
    with Wire(attacked.control_socket) as wire:
        with contextlib.suppress(ConnectionError):
            wire.send((first + head).encode())
            for _ in range(1600):
                wire.send(block)
        with contextlib.suppress(ConnectionError):
            answer = wire.answer("POST")
            assert answer.status in statuses, answer
    grown = attacked.resident() - before

    assert grown < 50 * MIB


IDS = (
    "../../etc/passwd", "..%2f..%2fetc", "%00", "'; DROP TABLE tokens;--", "' OR '1'='1",
    "a" * 2000, "\u202e", "%ff", "~", "-", "*", "a@b@c", "<script>",
)  # fmt: skip
PLACES = (
    ("GET", "/mailboxes/{}"), ("PATCH", "/mailboxes/{}"), ("DELETE", "/mailboxes/{}"),
    ("POST", "/mailboxes/{}/validate"), ("DELETE", "/tokens/{}"), ("GET", "/tokens?mailbox={}"),
    ("GET", "/messages/{}"), ("GET", "/messages/{}/explain"), ("POST", "/messages/{}/cancel"),
    ("GET", "/messages?cursor={}"), ("GET", "/messages?state={}"), ("GET", "/domains/{}"),
    ("DELETE", "/suppressions?address={}"), ("GET", "/suppressions?cursor={}"),
    ("POST", "/keys/{}/begin"), ("POST", "/keys/jwt/{}"), ("DELETE", "/domains/{}"), ("GET", "/{}"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "place"), PLACES)
def test_what_an_operator_mistypes_is_refused(attacked: Target, method: str, place: str) -> None:
    """With a reason, and never by a failure of ours."""
    for text in IDS:
        answer = attacked.operate(method, place.format(quote(text, safe="%")), {})

        assert answer.status in {400, 404, 405, 409, 422}, (text, answer)
        assert answer.field("content-type") == "application/problem+json"


ANY = "0.0.0.0"  # noqa: S104 - nothing is bound
HOPS = (
    "169.254.169.254", "100.100.100.200", "10.0.0.1", ANY, "0", "0177.1", "2130706433",
    "0x7f000001", "127.0.0.1.evil.test", "::", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "fec0::1",
    "::ffff:169.254.169.254", "224.0.0.1", "192.0.0.8", "localhost.evil.test", "user@127.0.0.1",
    "127.0.0.1#", "127.0.0.1:25", "[::1", "loc\u0430lhost", "metadata.google.internal",
)  # fmt: skip


@pytest.mark.parametrize("host", HOPS, ids=ascii)
def test_plaintext_goes_nowhere_but_to_this_machine(attacked: Target, host: str) -> None:
    """A next hop without TLS on any other address, however it is written, is not taken."""
    settings = {"next_hop_host": host, "next_hop_port": 25, "next_hop_tls_mode": "none-on-loopback"}
    answer = attacked.operate("PATCH", "/mailboxes/other@sender.test", settings)

    assert (answer.status, answer.json["code"]) == (422, "validation_failed")
    found = attacked.operate("GET", "/mailboxes/other@sender.test").json
    assert found["next_hop_host"] is None


# What strangers had stored.


def refused_with(attacked: Target, number: int) -> str:
    """A message whose every text is hostile, and whose recipient the next hop refuses."""
    text = (*XSS, *ESCAPES)[number]
    line = OBEYED.sub("?", text)  # what the API takes
    body = {
        **MAIL,
        "to": {"address": f"refused-{number}@rcpt.test", "name": line},
        "subject": line,
        "headers": {"X-Run": line},
        "metadata": {"run": text},
    }
    sent = attacked.post(body, X_Request_Id="x", User_Agent=quote(text))
    assert sent.status == 202
    queue_id = sent.json["queue_id"]
    eventually(
        lambda: state_of(attacked, queue_id) == "failed",
        within_s=SOON_S,
        what=attacked.gateway.tail,
    )
    return str(queue_id)


def state_of(attacked: Target, queue_id: str) -> str:
    return str(attacked.get(f"/api/v1/messages/{queue_id}").json["recipients"][0]["state"])


@pytest.fixture(scope="module")
def stored(attacked: Target) -> list[str]:
    """Messages with every hostile text, refused by the next hop with the same."""
    return [refused_with(attacked, number) for number in range(len(XSS) + len(ESCAPES))]


def test_what_strangers_say_is_json_and_nothing_else(attacked: Target, stored: list[str]) -> None:
    """Subject, metadata and reply are shown as data: no browser takes them for a page."""
    for queue_id, text in zip(stored, (*XSS, *ESCAPES), strict=True):
        answers = [
            attacked.get(f"/api/v1/messages/{queue_id}{rest}")
            for rest in ("", "/events", "/attempts", "/explain")
        ]

        for answer in answers:
            assert_data(answer)
        assert answers[0].json["metadata"] == {"run": text}
        assert answers[0].json["subject"] == OBEYED.sub("?", text)
        reply = answers[0].json["recipients"][0]["last_reply"]
        assert reply.startswith("550 5.1.1 ")
        assert text not in XSS or text in reply
        assert not re.search("[\x00-\x1f\x7f-\x9f]", reply)


def assert_data(answer: Answer) -> None:
    """JSON under a policy that loads and runs nothing, whatever a browser thinks of it."""
    assert (answer.status, answer.field("content-type")) == (200, "application/json")
    assert answer.field("x-content-type-options") == "nosniff"
    assert answer.field("content-security-policy").startswith("default-src 'none'")
    assert not re.search(rb"[\x00-\x1f]", answer.body)


REPORT = """\
From: {text} <mailer@evil.test>\r
To: {to}\r
Subject: {text}\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type={kind}; boundary="b"\r
\r
--b\r
Content-Type: text/plain; charset=utf-8\r
\r
{text}\r
--b\r
Content-Type: message/{kind}\r
\r
{fields}\r
--b\r
Content-Type: message/rfc822\r
\r
Return-Path: <{to}>\r
Subject: {text}\r
\r
Hello\r
--b--\r
"""
DELIVERY_STATUS = """\
Reporting-MTA: dns; {text}\r
\r
Final-Recipient: rfc822; {rcpt}\r
Action: failed\r
Status: 5.1.1\r
Remote-MTA: dns; {text}\r
Diagnostic-Code: smtp; 550 5.1.1 {text}\r
"""
FEEDBACK = """\
Feedback-Type: abuse\r
User-Agent: {text}\r
Version: 1\r
Original-Rcpt-To: <{rcpt}>\r
Reported-Domain: {text}\r
"""


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("delivery-status", DELIVERY_STATUS), ("feedback-report", FEEDBACK)],
    ids=["bounce", "complaint"],
)
def test_what_a_report_says_is_data(
    attacked: Target, capsys: pytest.CaptureFixture[str], kind: str, fields: str
) -> None:
    """The words of a bounce and of a complaint, in the API and in commands."""
    file = ("-c", str(attacked.gateway.config_file))
    queue_id = ""
    for number, text in enumerate((*XSS[::5], "".join(ESCAPES))):
        line, subject = text.replace("\r", " "), attacked.mark()
        rcpt = f"{kind}-{number}@rcpt.test"
        queue_id = attacked.post({**MAIL, "to": rcpt, "subject": subject}).json["queue_id"]
        to = attacked.copy(subject).reverse_path
        inner = fields.format(text=line, rcpt=rcpt)
        report = REPORT.format(text=line, to=to, kind=kind, fields=inner).encode()
        with smtplib.SMTP("127.0.0.1", attacked.gateway.ports.bounces, timeout=30) as remote:
            remote.sendmail("", [to], report)
        found = attacked.get(f"/api/v1/messages/{queue_id}").json["recipients"][0]

        assert to.endswith(f"@{BOUNCES}")
        assert found["bounced_at"] or found["complained_at"]
        for rest in ("", "/events", "/explain"):
            assert_data(attacked.get(f"/api/v1/messages/{queue_id}{rest}"))
    capsys.readouterr()
    assert main(["messages", "explain", queue_id, *file]) == 0
    assert not OBEYED.search("".join(capsys.readouterr()))


def test_no_terminal_obeys_what_a_command_shows(
    attacked: Target, stored: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Control characters, and what turns text round, are taken out of every table."""
    file = ("-c", str(attacked.gateway.config_file))
    last = stored[-len(ESCAPES) :: 2]
    shown = [("messages", verb, one) for verb in ("show", "explain") for one in last]
    for words in (
        ("messages", "list", "--limit", "100"), ("messages", "list", "--json"),
        ("suppressions", "list"), *shown,
    ):  # fmt: skip
        capsys.readouterr()
        assert main([*words, *file]) == 0
        out, err = capsys.readouterr()

        assert len(out) > 100
        assert not OBEYED.search(out)
        assert not OBEYED.search(err)


def test_no_spreadsheet_calculates_what_is_exported(
    attacked: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell that begins as a formula does gets a quote before it, and is read back without."""
    file = ("-c", str(attacked.gateway.config_file))
    formulas = ["=HYPERLINK(1)", "+1+1", "-1+1", "@SUM(1)", "'=1", "=1\u2028", "\x1b]0;pwn\x07"]
    for number, text in enumerate(formulas):
        local_part = f"{text[0]}{number}" if text[0] in "=+-" else f"formula-{number}"
        new = {"address": f"{local_part}@rcpt.test", "reason": text}
        assert attacked.operate("POST", "/suppressions", new).status in {201, 422}
    capsys.readouterr()
    assert main(["suppressions", "export", "-", *file]) == 0
    out, _ = capsys.readouterr()
    cells = [cell for row in csv.reader(io.StringIO(out)) for cell in row]

    assert "'=HYPERLINK(1)" in cells
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    assert not OBEYED.search(out)
