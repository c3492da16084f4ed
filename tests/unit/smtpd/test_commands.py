"""smtpd.commands: the grammar of MAIL, RCPT, BDAT and EHLO arguments."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import Code, Refused
from gatewayd.mail.address import NULL
from gatewayd.mail.envelope import BodyType, Notify, Ret
from gatewayd.smtpd.commands import is_hello_name, parse_chunk, parse_mail, parse_rcpt
from gatewayd.smtpd.replies import Rejected


def _rejection(call: object, *args: object, **kwargs: object) -> str:
    assert callable(call)
    with pytest.raises(Rejected) as caught:
        call(*args, **kwargs)
    reply = caught.value.reply
    return f"{reply.code} {reply.status}"


def test_mail_with_every_parameter_is_read() -> None:
    """Keywords are caseless, values keep their case."""
    command = parse_mail(
        "from:<Agent@Example.com> size=12345 Body=8bitmime SMTPUTF8 RET=hdrs "
        "ENVID=QQ+2B314 AUTH=e+3Dmc2@example.com"
    )

    assert str(command.reverse_path) == "Agent@example.com"
    assert command.size_octets == 12345
    assert command.body is BodyType.EIGHT_BIT
    assert command.smtputf8
    assert command.ret is Ret.HDRS
    assert command.envid == "QQ+2B314"


def test_mail_without_parameters_has_the_defaults() -> None:
    """7BIT is what MAIL without BODY means (RFC 6152 2)."""
    command = parse_mail("FROM:<a@example.com>")

    assert command.size_octets is None
    assert command.body is BodyType.SEVEN_BIT
    assert command.ret is None
    assert command.envid is None
    assert not command.smtputf8


def test_mail_with_null_reverse_path_is_read() -> None:
    """`<>` is a value of its own (RFC 5321 4.5.5)."""
    assert parse_mail("FROM:<>").reverse_path == NULL


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("", "501 5.5.4"),
        ("TO:<a@example.com>", "501 5.5.4"),
        ("FROM: <a@example.com>", "501 5.5.4"),
        ("FROM:a@example.com", "553 5.1.7"),
        ("FROM:<a@example.com", "553 5.1.7"),
        ("FROM:<@relay.example:a@example.com>", "553 5.1.7"),
        ("FROM:<a@b@example.com>", "553 5.1.7"),
        ("FROM:<a@example.com>SIZE=1", "553 5.1.7"),
        ("FROM:<a@example.com> SIZE=", "501 5.5.4"),
        ("FROM:<a@example.com> SIZE", "501 5.5.4"),
        ("FROM:<a@example.com> SIZE=-1", "501 5.5.4"),
        ("FROM:<a@example.com> SIZE=1 SIZE=1", "501 5.5.4"),
        ("FROM:<a@example.com> SIZE=1 size=2", "501 5.5.4"),
        ("FROM:<a@example.com> SIZE=123456789012345678901", "501 5.5.4"),
        ("FROM:<a@example.com> BODY=BINARYMIME", "501 5.5.4"),
        ("FROM:<a@example.com> BODY", "501 5.5.4"),
        ("FROM:<a@example.com> SMTPUTF8=yes", "501 5.5.4"),
        ("FROM:<a@example.com> RET=SOME", "501 5.5.4"),
        ("FROM:<a@example.com> ENVID=", "501 5.5.4"),
        ("FROM:<a@example.com> ENVID=a+zz", "501 5.5.4"),
        (f"FROM:<a@example.com> ENVID={'a' * 101}", "501 5.5.4"),
        ("FROM:<a@example.com> AUTH=a+zz", "501 5.5.4"),
        ("FROM:<a@example.com> AUTH", "501 5.5.4"),
        ("FROM:<a@example.com> NOTIFY=NEVER", "555 5.5.4"),
        ("FROM:<a@example.com> XUNKNOWN=1", "555 5.5.4"),
        ("FROM:<a@example.com> REQUIRETLS", "555 5.5.4"),
        ("FROM:<a@example.com> =1", "501 5.5.4"),
        ("FROM:<a@example.com> SIZE=1=2", "501 5.5.4"),
        ("FROM:<a\rX: y@example.com>", "553 5.1.7"),
        ('FROM:<"a\nb"@example.com>', "553 5.1.7"),
        ('FROM:<"a\0b"@example.com>', "553 5.1.7"),
        ("FROM:<a;|@example.com>", "553 5.1.7"),
        (f"FROM:<{'(' * 500}>", "553 5.1.7"),
    ],
)
def test_mail_that_is_wrong_gets_the_reply(argument: str, reply: str) -> None:
    """Unknown parameters are 555, wrong ones 501, addresses 553 (RFC 5321 4.1.1.11)."""
    assert reply == _rejection(parse_mail, argument)


def test_auth_parameter_is_read_and_forgotten() -> None:
    """Both forms of RFC 4954 5."""
    assert parse_mail("FROM:<a@example.com>") == parse_mail("FROM:<a@example.com> AUTH=<>")


def test_quoted_local_part_with_brackets_is_one_path() -> None:
    """A bracket inside a quoted string is text."""
    command = parse_mail('FROM:<"a> SIZE=1 <b"@example.com> SIZE=2')

    assert str(command.reverse_path) == '"a> SIZE=1 <b"@example.com'
    assert command.size_octets == 2


def test_address_that_is_not_ascii_needs_smtputf8() -> None:
    """553 5.6.7 (RFC 6531 3.5), and fine with the parameter."""
    with pytest.raises(Refused) as caught:
        parse_mail("FROM:<jürgen@example.com>")

    assert caught.value.kind is Code.SMTPUTF8_REQUIRED
    assert parse_mail("FROM:<jürgen@example.com> SMTPUTF8").smtputf8


def test_rcpt_with_every_parameter_is_read() -> None:
    """ORCPT is kept as sent."""
    recipient = parse_rcpt(
        "to:<Bob@Example.net> notify=success,DELAY orcpt=rfc822;Bob+2Bx@Example.net",
        smtputf8=False,
    )

    assert str(recipient.forward_path) == "Bob@example.net"
    assert recipient.notify == {Notify.SUCCESS, Notify.DELAY}
    assert recipient.orcpt == "rfc822;Bob+2Bx@Example.net"


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("", "501 5.5.4"),
        ("FROM:<a@example.com>", "501 5.5.4"),
        ("TO: <a@example.com>", "501 5.5.4"),
        ("TO:a@example.com", "553 5.1.3"),
        ("TO:<@a.example:b@example.com>", "553 5.1.3"),
        ("TO:<a@example.com> NOTIFY=NEVER,SUCCESS", "501 5.5.4"),
        ("TO:<a@example.com> NOTIFY=SUCCESS,SUCCESS", "501 5.5.4"),
        ("TO:<a@example.com> NOTIFY=", "501 5.5.4"),
        ("TO:<a@example.com> NOTIFY", "501 5.5.4"),
        ("TO:<a@example.com> NOTIFY=SOMETIMES", "501 5.5.4"),
        ("TO:<a@example.com> ORCPT=", "501 5.5.4"),
        ("TO:<a@example.com> ORCPT", "501 5.5.4"),
        ("TO:<a@example.com> ORCPT=bob@example.com", "501 5.5.4"),
        ("TO:<a@example.com> ORCPT=rfc822;a ORCPT=rfc822;a", "501 5.5.4"),
        ("TO:<a@example.com> SIZE=1", "555 5.5.4"),
    ],
)
def test_rcpt_that_is_wrong_gets_the_reply(argument: str, reply: str) -> None:
    """The same rules as for MAIL."""
    assert reply == _rejection(parse_rcpt, argument, smtputf8=False)


@pytest.mark.parametrize("path", ["", "nobody", "postmaster", "a@", "a b@example.com", "a@1.2.3.4"])
def test_forward_path_that_is_no_address_is_refused(path: str) -> None:
    """With the same code as over HTTP."""
    with pytest.raises(Refused) as caught:
        parse_rcpt(f"TO:<{path}>", smtputf8=False)

    assert caught.value.kind is Code.RECIPIENT_INVALID


def test_utf8_orcpt_needs_smtputf8() -> None:
    """A utf-8 address may be raw only in an SMTPUTF8 transaction (RFC 6533 3)."""
    argument = "TO:<jürgen@example.com> ORCPT=utf-8;jürgen@example.com"

    assert parse_rcpt(argument, smtputf8=True).orcpt == "utf-8;jürgen@example.com"
    with pytest.raises(Refused):
        parse_rcpt(argument, smtputf8=False)


@pytest.mark.parametrize(
    ("argument", "chunk"),
    [
        ("0", (0, False)),
        ("86 LAST", (86, True)),
        ("86 last", (86, True)),
        ("", None),
        ("LAST", None),
        ("-1", None),
        ("1 2", None),
        ("0x10", None),
        ("1e3", None),
        ("٣", None),
        ("1LAST", None),
        ("999999999999999999999", None),
    ],
)
def test_chunk_is_read(argument: str, chunk: tuple[int, bool] | None) -> None:
    """`BDAT SP chunk-size [SP "LAST"]` (RFC 3030 2)."""
    assert chunk == parse_chunk(argument)


@pytest.mark.parametrize("name", ["mail.example.com", "[192.0.2.1]", "[IPv6:::1]", "my_host", "x"])
def test_hello_name_of_real_clients_is_taken(name: str) -> None:
    """Containers have underscores."""
    assert is_hello_name(name)


@pytest.mark.parametrize(
    "name", ["", "a b", "a\nb", "(comment)", "<x>", "jürgen", "a" * 256, "a;b"]
)
def test_hello_name_that_could_forge_a_trace_field_is_not(name: str) -> None:
    """It will stand in Received."""
    assert not is_hello_name(name)


@given(st.text(max_size=300))
def test_no_argument_raises_anything_but_a_refusal(argument: str) -> None:
    """Whatever is sent, there is a reply to it."""
    for prefix in ("", "FROM:<a@example.com> ", "FROM:<"):
        with contextlib.suppress(Rejected, Refused):
            parse_mail(prefix + argument)
    for prefix in ("", "TO:<a@example.com> ", "TO:<"):
        with contextlib.suppress(Rejected, Refused):
            parse_rcpt(prefix + argument, smtputf8=True)


@pytest.mark.parametrize("unit", ["A=1 ", "NOTIFY=", "(", "<", '"', "\\", " ", "a."])
def test_long_argument_takes_linear_time(unit: str) -> None:
    """No expression of the grammar backtracks."""
    began = time.perf_counter()
    for prefix in ("FROM:<a@example.com> ", "FROM:<", 'FROM:<"'):
        with pytest.raises((Rejected, Refused)):
            parse_mail(prefix + unit * (65_536 // len(unit)) + "\x7f")

    assert time.perf_counter() - began < 1
