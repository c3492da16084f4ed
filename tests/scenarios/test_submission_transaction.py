"""A client hands in mail: order of commands and replies, parameters, refusals, faults of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from gatewayd.config.limits import LimitsSection
from gatewayd.errors import Code, Refused, StoreBroken, StoreFull, StoreUnavailable
from gatewayd.mail.envelope import BodyType, Notify, Ret
from tests.fakes.submission_client import SubmissionClient, connect
from tests.fakes.submission_host import MAILBOX, TOKEN, Host, submission_host

_MESSAGE = "Subject: x\r\n\r\nhello\r\n."
_MAIL = f"MAIL FROM:<{MAILBOX}>"
_RCPT = "RCPT TO:<bob@example.net>"


@asynccontextmanager
async def _logged_in(
    limits: LimitsSection | None = None,
) -> AsyncIterator[tuple[Host, SubmissionClient]]:
    async with submission_host(limits=limits) as host, connect(host.address) as client:
        await client.hello()
        assert (await client.log_in(MAILBOX, TOKEN)).code == 235
        yield host, client


async def test_message_is_accepted_with_its_queue_id() -> None:
    """250 names the id under which it can be asked for."""
    async with _logged_in() as (host, client):
        answers = await client.ask_all([_MAIL, _RCPT, "RCPT TO:<ann@example.net>", "DATA"])
        done = await client.ask(_MESSAGE)

    assert [answer.code for answer in answers] == [250, 250, 250, 354]
    assert str(done) == "250 2.0.0 queue-1 accepted for 2 recipients"
    assert host.intake.contents == [b"Subject: x\r\n\r\nhello\r\n"]
    submission = host.intake.accepted[0]
    assert str(submission.principal.mailbox) == MAILBOX
    assert submission.trace.protocol == "ESMTPA"
    assert submission.trace.tls == ""
    assert submission.trace.request_id


async def test_parameters_of_mail_and_rcpt_reach_the_envelope() -> None:
    """RFC 3461 4, RFC 6152 2."""
    async with _logged_in() as (host, client):
        await client.ask_all(
            [
                f"{_MAIL} SIZE=100 BODY=8BITMIME RET=HDRS ENVID=Qq+2B1 AUTH=<>",
                f"{_RCPT} NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@Example.Net",
                "RCPT TO:<ann@example.net> NOTIFY=NEVER",
                "DATA",
            ]
        )
        assert (await client.ask(_MESSAGE)).code == 250

    envelope = host.intake.accepted[0].envelope
    bob, ann = envelope.recipients
    assert envelope.body is BodyType.EIGHT_BIT
    assert envelope.ret is Ret.HDRS
    assert envelope.envid == "Qq+2B1"
    assert bob.notify == {Notify.SUCCESS, Notify.FAILURE}
    assert bob.orcpt == "rfc822;Bob@Example.Net"
    assert ann.notify == {Notify.NEVER}


async def test_smtputf8_transaction_is_named_in_the_trace() -> None:
    """UTF8SMTPA (RFC 6531 4.3)."""
    async with _logged_in() as (host, client):
        without = await client.ask_all([_MAIL, "RCPT TO:<jürgen@example.net>", "RSET"])
        await client.ask_all([f"{_MAIL} SMTPUTF8", "RCPT TO:<jürgen@exämple.net>", "DATA"])
        assert (await client.ask(_MESSAGE)).code == 250

    assert str(without[1]).startswith("553 5.6.7 smtputf8_required: ")
    submission = host.intake.accepted[0]
    assert submission.envelope.smtputf8
    assert submission.trace.protocol == "UTF8SMTPA"
    assert str(submission.envelope.recipients[0].forward_path) == "jürgen@exämple.net"


async def test_replies_come_in_the_order_of_the_commands() -> None:
    """Three transactions in one write, with every kind of refusal between (RFC 2920 3.2)."""
    lines = [
        _MAIL,
        _RCPT,
        "RCPT TO:<x@blocked.example>",
        "RCPT TO:<suppressed@example.net>",
        "RCPT TO:<not an address>",
        "RCPT TO:<y@example.net> FOO=bar",
        "RSET",
        "MAIL FROM:<other@example.com>",
        _RCPT,
        "DATA",
        _MAIL,
        _MAIL,
        "RCPT TO:<x@blocked.example>",
        "DATA",
        "NOOP",
    ]
    async with _logged_in() as (_, client):
        answers = [str(answer)[:9] for answer in await client.ask_all(lines)]

    assert answers == [
        "250 2.1.0",
        "250 2.1.5",
        "550 5.7.1",
        "550 5.7.1",
        "553 5.1.3",
        "555 5.5.4",
        "250 2.0.0",
        "550 5.7.1",
        "503 5.5.1",
        "503 5.5.1",
        "250 2.1.0",
        "503 5.5.1",
        "550 5.7.1",
        "554 5.5.1",
        "250 2.0.0",
    ]


async def test_pipelined_replies_leave_in_one_piece() -> None:
    """One write for a batch, not one for each line (library-facts section 2)."""
    async with _logged_in() as (_, client):
        client.send(f"{_MAIL}\r\n{_RCPT}\r\nDATA\r\n".encode())
        together = await client.reader.read(4096)

    assert together.count(b"\r\n") == 3


async def test_refused_recipient_does_not_stop_the_others() -> None:
    """Each is refused alone, and the message goes to the rest."""
    async with _logged_in() as (host, client):
        await client.ask_all([_MAIL, "RCPT TO:<x@blocked.example>", _RCPT, "DATA"])
        done = await client.ask(_MESSAGE)

    assert done.text.endswith("accepted for 1 recipient")
    assert len(host.intake.accepted[0].envelope.recipients) == 1


async def test_data_after_all_recipients_were_refused_is_554() -> None:
    """The text says what happened."""
    async with _logged_in() as (_, client):
        answers = await client.ask_all([_MAIL, "RCPT TO:<x@blocked.example>", "DATA"])
        nobody = await client.ask_all(["RSET", _MAIL, "DATA"])

    assert str(answers[2]).startswith("554 5.5.1 recipient_missing: no valid recipients")
    assert str(nobody[2]) == "503 5.5.1 send RCPT TO first"


async def test_recipient_over_the_limit_is_452() -> None:
    """The client sends the rest in another transaction (RFC 5321 4.5.3.1.10)."""
    async with _logged_in(LimitsSection(recipients=3)) as (host, client):
        answers = await client.ask_all(
            [_MAIL, *(f"RCPT TO:<u{number}@example.net>" for number in range(5)), "DATA"]
        )
        await client.ask(_MESSAGE)

    assert [answer.code for answer in answers] == [250, 250, 250, 250, 452, 452, 354]
    assert str(answers[4]).startswith("452 4.5.3 too_many_recipients: ")
    assert len(host.intake.accepted[0].envelope.recipients) == 3


async def test_size_over_the_limit_is_refused_at_mail() -> None:
    """Before any octet of it (RFC 1870 6.1)."""
    async with _logged_in(LimitsSection(message_octets=5000)) as (_, client):
        over = await client.ask(f"{_MAIL} SIZE=5001")
        fits = await client.ask(f"{_MAIL} SIZE=5000")

    assert str(over).startswith("552 5.3.4 message_too_large: ")
    assert fits.code == 250


async def test_null_reverse_path_is_refused_by_the_binding() -> None:
    """It reaches intake as what it is (library-facts F9)."""
    async with _logged_in() as (_, client):
        answer = await client.ask("MAIL FROM:<>")

    assert str(answer).startswith("550 5.7.1 sender_not_allowed: ")


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (Refused(Code.QUOTA_EXCEEDED, "later"), "451 4.7.1 quota_exceeded: later"),
        (Refused(Code.SENDER_NOT_ALLOWED, "From"), "550 5.7.1 sender_not_allowed: From"),
        (Refused(Code.TOKEN_REVOKED, "gone"), "530 5.7.0 token_revoked: gone"),
        (StoreUnavailable("busy"), "451 4.3.0 unavailable: "),
        (StoreFull("disk"), "452 4.3.1 storage_full: "),
        (StoreBroken("fsync"), "451 4.3.0 unavailable: "),
        (RuntimeError("secret /path"), "451 4.3.0 unavailable: "),
    ],
)
async def test_message_that_intake_refuses_gets_the_reply(fault: Exception, reply: str) -> None:
    """And the session goes on; a broken store is told to the daemon."""
    async with _logged_in() as (host, client):
        host.intake.fault = fault
        await client.ask_all([_MAIL, _RCPT, "DATA"])
        with capture_logs():
            answer = await client.ask(_MESSAGE)
        assert (await client.ask("NOOP")).code == 250

    assert str(answer).startswith(reply)
    assert "secret" not in str(answer)
    assert ([fault] if isinstance(fault, StoreBroken) else []) == host.fatal
    assert host.budget.used_octets == 0


async def test_fault_at_mail_is_451_and_tells_nothing() -> None:
    """No class, no path (library-facts F7)."""
    async with _logged_in() as (_, client):
        with capture_logs():
            answer = await client.ask(f"{_MAIL} SIZE=666")

    assert answer.code == 451
    assert "secret" not in str(answer)
    assert "Error" not in str(answer)


async def test_thousand_messages_pass_through_one_session() -> None:
    """Nothing of one message is left for the next."""
    async with _logged_in() as (host, client):
        for _ in range(10):
            client.send(
                f"{_MAIL}\r\n{_RCPT}\r\nDATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n".encode() * 100
            )
            answers = [await client.read() for _ in range(400)]
            assert {250, 354} == {answer.code for answer in answers}

    assert len(host.intake.accepted) == 1000


async def test_message_of_header_only_or_body_only_is_taken() -> None:
    """Whether it is a good one, intake says."""
    async with _logged_in() as (host, client):
        for content in (b"Subject: x\r\n.\r\n", b"\r\nbody\r\n.\r\n", b".\r\n"):
            await client.ask_all([_MAIL, _RCPT, "DATA"])
            client.send(content)
            assert (await client.read()).code == 250

    assert host.intake.contents == [b"Subject: x\r\n\r\n", b"\r\nbody\r\n", b"\r\n"]
