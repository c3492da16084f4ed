"""What the simulator sends back: a DSN for a mail that it took, a complaint about one.

| the local-part ends in | what comes                                    | to                     |
|------------------------|-----------------------------------------------|------------------------|
| bounce                 | RFC 3464 report of a failure, 5.1.1           | the reverse-path       |
| complaint              | RFC 5965 report of abuse, with the message    | complaints@ its domain |

By SMTP, to the bounce listener on this machine, as a next hop of the world would do it a moment
later: so it may come before the outcome is known, is told to come again, and does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from gatewayd import log
from gatewayd.clock import Clock
from gatewayd.config.types import Bind
from gatewayd.mail.address import Address, ForwardPath
from gatewayd.mail.envelope import Envelope
from gatewayd.mail.header import format_date
from gatewayd.mail.lines import dot_stuff
from gatewayd.mail.message import RawMessage
from gatewayd.reports import dsn_compose
from gatewayd.reports.dsn_compose import AboutMessage, AboutRecipient, Addressing
from gatewayd.reports.report import Action

HOSTNAME: Final = "simulator.invalid"
TRIES: Final = 8
FIRST_PAUSE_S: Final = 0.2
ANSWER_S: Final = 10.0
WAITING: Final = 1000  # reports; more are not sent

_log = log.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """One message on its way back."""

    to: Address
    octets: bytes


class Returns:
    """Sends them, one after the other. None is sent where no bounce listener is configured."""

    def __init__(self, bounces: Bind | None, *, clock: Clock) -> None:
        self._bounces = bounces
        self._clock = clock
        self._waiting: asyncio.Queue[Return] = asyncio.Queue(WAITING)

    def about(self, envelope: Envelope, message: RawMessage) -> None:
        """Note what is to be sent back for a message that was taken."""
        reverse_path = envelope.reverse_path.address
        if self._bounces is None or reverse_path is None:
            return
        for recipient in envelope.recipients:
            ending = recipient.address.local_part.strip('"').lower()
            if ending.endswith("bounce"):
                octets = self._dsn(recipient.forward_path, message, reverse_path)
                self._put(Return(to=reverse_path, octets=octets))
            elif ending.endswith("complaint"):
                to = Address("complaints", reverse_path.domain)
                octets = self._complaint(recipient.forward_path, message, reverse_path, to)
                self._put(Return(to=to, octets=octets))

    async def run(self) -> None:
        """Send what is there until cancelled."""
        while True:
            await self._send(await self._waiting.get())

    def _put(self, one: Return) -> None:
        try:
            self._waiting.put_nowait(one)
        except asyncio.QueueFull:
            _log.warning("simulated_return_dropped")

    async def _send(self, one: Return) -> None:
        pause_s = FIRST_PAUSE_S
        for _ in range(TRIES):
            await asyncio.sleep(pause_s)
            pause_s *= 2
            try:
                async with asyncio.timeout(ANSWER_S):
                    code = await self._converse(one)
            except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
                continue
            if code < 400:
                return
            if code >= 500:
                break
        _log.warning("simulated_return_refused")

    async def _converse(self, one: Return) -> int:
        """One session; the code of the reply that ended it."""
        assert self._bounces is not None  # noqa: S101 - nothing is put here without
        host = "127.0.0.1" if self._bounces.host == "0.0.0.0" else self._bounces.host  # noqa: S104 - compared with
        reader, writer = await asyncio.open_connection(host, self._bounces.port)
        try:
            code = await _reply(reader)
            for line in (
                f"EHLO {HOSTNAME}\r\n".encode(),
                b"MAIL FROM:<>\r\n",
                f"RCPT TO:<{one.to}>\r\n".encode(),
                b"DATA\r\n",
                dot_stuff(one.octets) + b".\r\n",
            ):
                if code >= 400:
                    break
                writer.write(line)
                await writer.drain()
                code = await _reply(reader)
            writer.write(b"QUIT\r\n")
        finally:
            writer.close()
        return code

    def _dsn(self, recipient: ForwardPath, message: RawMessage, to: Address) -> bytes:
        now = self._clock.now()
        body = message.body
        report = dsn_compose.compose(
            AboutMessage(
                header=message.header,
                body=body if isinstance(body, bytes) else None,
                accepted_at=now,
            ),
            [
                AboutRecipient(
                    forward_path=recipient,
                    action=Action.FAILED,
                    at=now,
                    status="5.1.1",
                    code=550,
                    text="simulated: no such mailbox",
                    remote_mta=HOSTNAME,
                )
            ],
            Addressing(
                hostname=HOSTNAME, to=to, message_id=f"<{now.timestamp()}@{HOSTNAME}>", date=now
            ),
        )
        assert isinstance(report.body, bytes)  # noqa: S101 - it was composed just now
        return report.header.octets + b"\r\n" + report.body

    def _complaint(
        self, recipient: ForwardPath, message: RawMessage, reverse_path: Address, to: Address
    ) -> bytes:
        """The parts of RFC 5965 3: words, the feedback, the message."""
        now = self._clock.now()
        body = message.body if isinstance(message.body, bytes) else b""
        return b"".join(
            (
                _COMPLAINT_HEAD.format(
                    hostname=HOSTNAME,
                    to=to,
                    date=format_date(now),
                    mail_from=reverse_path,
                    rcpt_to=recipient,
                    arrival=format_date(now),
                )
                .replace("\n", "\r\n")
                .encode(),
                message.header.octets,
                b"\r\n",
                body,
                b"\r\n--simulated--\r\n",
            )
        )


async def _reply(reader: asyncio.StreamReader) -> int:
    line = await reader.readuntil(b"\n")
    while line[3:4] == b"-":
        line = await reader.readuntil(b"\n")
    return int(line[:3])


_COMPLAINT_HEAD: Final = """\
From: <feedback@{hostname}>
To: <{to}>
Date: {date}
Subject: FW: a message that was taken for spam
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report;
 boundary="simulated"

--simulated
Content-Type: text/plain; charset=us-ascii

This is a simulated complaint: a recipient has marked this message as spam.
--simulated
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: gatewayd-simulator/1
Version: 1
Original-Mail-From: <{mail_from}>
Original-Rcpt-To: <{rcpt_to}>
Arrival-Date: {arrival}

--simulated
Content-Type: message/rfc822

"""
