"""Connector: a session with a next hop, ready for MAIL; the border to aiosmtplib.

| step    | how                                                                   | deadline   |
|---------|-----------------------------------------------------------------------|------------|
| resolve | the system's resolver; plaintext goes to loopback addresses only      | connect_s  |
| connect | each address in turn, the one that was checked and no other           | connect_s  |
| TLS     | implicit: before the greeting; starttls_required: after EHLO, or none | greeting_s |
| EHLO    | HELO if the peer knows no EHLO; again after STARTTLS (RFC 3207 4.2)   | command_s  |
| AUTH    | PLAIN, else LOGIN, once: a second try can lock an account             | command_s  |

aiosmtplib does these steps, and drops what a peer says in plaintext after its reply to STARTTLS.
Then the transport is handed to our Channel (`channel.py`) for pipelined transactions. Whatever
goes wrong is told as NoSession with the outcome `trouble.py` gives it; no exception of aiosmtplib,
`ssl` or `socket` leaves this file.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import aiosmtplib

from gatewayd.config.delivery import DeliverySection, NextHop, TlsMode
from gatewayd.delivery import trouble
from gatewayd.delivery.smtp.capabilities import Capabilities
from gatewayd.delivery.smtp.channel import Channel
from gatewayd.delivery.smtp.dial import Dialer, NotLoopback
from gatewayd.delivery.trouble import Phase
from gatewayd.mail.outcome import Outcome
from gatewayd.mail.reply import Reply, ReplySyntaxError

CONTEXTS: Final = 64  # files of authorities that are kept read


class NoSession(Exception):
    """No session with the next hop came about. Private to `delivery/`: it becomes an outcome.

    Args:
        phase: the step that failed.
        outcome: what that means for every recipient.
        transcript: what was said until then.
    """

    def __init__(self, phase: Phase, outcome: Outcome, transcript: tuple[str, ...]) -> None:
        super().__init__(f"{phase}: {outcome}")
        self.phase = phase
        self.outcome = outcome
        self.transcript = transcript


@dataclass(slots=True, eq=False, kw_only=True)
class Connection:
    """One session with a next hop, between transactions.

    tls: version and cipher, such as "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" for plaintext.
    mails: transactions begun. needs_reset: the last one left the peer inside of it.
    """

    channel: Channel
    next_hop: NextHop
    capabilities: Capabilities
    tls: str
    opening: tuple[str, ...]  # of the transcript
    mails: int = 0
    needs_reset: bool = False
    idle_since: float = 0.0

    @property
    def is_reused(self) -> bool:
        return self.mails > 1


@dataclass(slots=True)
class _Opening:
    """How far we are, and what was said."""

    phase: Phase = Phase.CONNECT
    lines: list[str] = field(default_factory=list)

    def said(self, code: int, text: str) -> None:
        self.lines.append(f"S: {code} {' / '.join(text.splitlines())}"[:400])

    def say(self, text: str) -> None:
        self.lines.append(f"C: {text}")


class Connector:
    """Opens sessions.

    Args:
        hostname: our name, for EHLO.
        section: the deadlines.
    """

    def __init__(self, *, hostname: str, section: DeliverySection) -> None:
        self._hostname = hostname
        self._section = section
        self._dialer = Dialer(connect_s=section.connect_s)
        self._contexts: dict[tuple[Path | None, int], ssl.SSLContext] = {}

    def close(self) -> None:
        """End what waits for a resolver."""
        self._dialer.close()

    async def open(self, next_hop: NextHop, *, until: float) -> Connection:
        """Connect, TLS, EHLO, AUTH.

        Args:
            next_hop: with whom.
            until: when all of it must be done, on the clock of the loop.

        Raises:
            NoSession: one of them failed; nothing of a message was sent.
        """
        opening = _Opening()
        try:
            async with asyncio.timeout_at(until):
                connection = await self._open(next_hop, opening)
        except (aiosmtplib.SMTPException, OSError, ValueError) as fault:
            phase, outcome = _explain(opening.phase, fault, next_hop)
            raise NoSession(phase, outcome, tuple(opening.lines)) from fault
        if _was_cancelled():
            connection.channel.abort()
            raise asyncio.CancelledError
        return connection

    async def _open(self, next_hop: NextHop, opening: _Opening) -> Connection:
        sock = await self._dialer.dial(next_hop)
        client: aiosmtplib.SMTP | None = None
        try:
            context = await self._context(next_hop)
            client = self._client(next_hop, sock, context)
            return await self._greet(client, next_hop, context, opening)
        except BaseException:
            if client is not None and client.transport is not None:
                cast("asyncio.Transport", client.transport).abort()
            sock.close()
            raise

    async def _context(self, next_hop: NextHop) -> ssl.SSLContext | None:
        """The TLS rules for a next hop; read again when the file of authorities changes.

        Raises:
            OSError: the file is missing or holds no certificate.
        """
        if next_hop.tls_mode is TlsMode.NONE_ON_LOOPBACK:
            return None
        ca_file = next_hop.ca_file
        key = (ca_file, ca_file.stat().st_mtime_ns if ca_file is not None else 0)
        context = self._contexts.get(key)
        if context is None:
            context = await asyncio.to_thread(_load, ca_file)
            if len(self._contexts) >= CONTEXTS:
                self._contexts.clear()
            self._contexts[key] = context
        return context

    def _client(
        self, next_hop: NextHop, sock: socket.socket, context: ssl.SSLContext | None
    ) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=_server_name(next_hop),
            sock=sock,
            local_hostname=self._hostname,
            use_tls=next_hop.tls_mode is TlsMode.IMPLICIT,
            start_tls=False,  # we call it, after checking that it is offered
            tls_context=context,
            timeout=self._section.command_s,
        )

    async def _greet(
        self,
        client: aiosmtplib.SMTP,
        next_hop: NextHop,
        context: ssl.SSLContext | None,
        opening: _Opening,
    ) -> Connection:
        greeting = await client.connect(timeout=self._section.greeting_s)
        opening.said(*greeting)
        capabilities = await self._hello(client, opening)
        if next_hop.tls_mode is TlsMode.STARTTLS_REQUIRED:
            opening.phase = Phase.TLS
            if not capabilities.starttls:
                outcome = trouble.no_tls("STARTTLS is required and the next hop does not offer it")
                raise NoSession(Phase.TLS, outcome, tuple(opening.lines))
            opening.say("STARTTLS")
            await client.starttls(server_hostname=_server_name(next_hop), tls_context=context)
            # What was offered in plaintext may have been anybody's words (RFC 3207 4.2).
            capabilities = await self._hello(client, opening)
        if next_hop.user is not None and next_hop.password is not None:
            opening.phase = Phase.AUTH
            await _log_in(client, next_hop.user, next_hop.password, capabilities, opening)
        transport = client.transport
        if transport is None or transport.is_closing():
            raise aiosmtplib.SMTPServerDisconnected("connection lost")
        tls = _tls_facts(transport)
        if next_hop.tls_mode is not TlsMode.NONE_ON_LOOPBACK and not tls:
            raise AssertionError("a session without TLS to a next hop that requires it")
        return Connection(
            channel=Channel(cast("asyncio.Transport", transport)),
            next_hop=next_hop,
            capabilities=capabilities,
            tls=tls,
            opening=tuple(opening.lines),
        )

    async def _hello(self, client: aiosmtplib.SMTP, opening: _Opening) -> Capabilities:
        opening.phase = Phase.EHLO
        opening.say(f"EHLO {self._hostname}")
        try:
            reply = await client.ehlo()
        except aiosmtplib.SMTPHeloError as refused:
            opening.said(refused.code, refused.message)
            if refused.code not in (500, 501, 502, 504, 550):
                raise
            # A server without extensions (RFC 5321 3.2). It can do nothing that needs one.
            opening.say(f"HELO {self._hostname}")
            reply = await client.helo()
            opening.said(*reply)
            return Capabilities()
        opening.said(*reply)
        return Capabilities.parse(reply.message.splitlines()[1:])


def _was_cancelled() -> bool:
    """Whether a cancellation of this task came, and was swallowed.

    aiosmtplib waits with `asyncio.wait_for`, which until Python 3.12 drops a cancellation that
    comes with the result; a drain would then wait for an attempt that has only begun.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _server_name(next_hop: NextHop) -> str:
    return next_hop.host.removesuffix(".")


def _load(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996, RFC 8314 4.1
    return context


async def _log_in(
    client: aiosmtplib.SMTP, user: str, password: str, capabilities: Capabilities, opening: _Opening
) -> None:
    if "PLAIN" in capabilities.auth:
        opening.say("AUTH PLAIN ***")
        method = client.auth_plain
    elif "LOGIN" in capabilities.auth:
        opening.say("AUTH LOGIN ***")
        method = client.auth_login
    else:
        offered = " ".join(sorted(capabilities.auth)) or "no AUTH"
        reason = f"the next hop offers {offered[:200]}, and PLAIN or LOGIN is needed"
        raise NoSession(Phase.AUTH, trouble.no_auth(reason), tuple(opening.lines))
    try:
        reply = await method(user, password)
    except aiosmtplib.SMTPResponseException as refused:
        # Some servers repeat what they did not understand.
        text = _without_secrets(refused.message, user, password)
        opening.said(refused.code, text)
        raise aiosmtplib.SMTPAuthenticationError(refused.code, text) from None
    opening.said(reply.code, _without_secrets(reply.message, user, password))


def _without_secrets(text: str, user: str, password: str) -> str:
    words = [password, f"\0{user}\0{password}", f"{user}\0{user}\0{password}"]
    encoded = [base64.b64encode(word.encode()).decode() for word in words]
    for secret in (*encoded, password):
        text = text.replace(secret, "***")
    return text


def _tls_facts(transport: asyncio.BaseTransport) -> str:
    session = transport.get_extra_info("ssl_object")
    if session is None:
        return ""
    cipher = session.cipher()
    return f"{session.version()} {cipher[0] if cipher else ''}".strip()


def _explain(phase: Phase, fault: Exception, next_hop: NextHop) -> tuple[Phase, Outcome]:
    """The step and the outcome of what aiosmtplib, ssl or the system raised."""
    if isinstance(fault, aiosmtplib.SMTPResponseException):
        return phase, _refusal(phase, fault)
    if isinstance(fault, NotLoopback):
        return phase, trouble.no_tls(str(fault))
    cause = fault.__cause__ if isinstance(fault, aiosmtplib.SMTPConnectError) else fault
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"the certificate of {next_hop.host} is refused: {cause.verify_message}"
        return Phase.TLS, trouble.no_tls(reason)
    if isinstance(cause, ssl.SSLError):
        return Phase.TLS, trouble.no_tls(f"no TLS with {next_hop.host}: {cause.reason or cause}")
    if phase is Phase.CONNECT and next_hop.tls_mode is TlsMode.IMPLICIT:
        is_greeting = isinstance(cause, aiosmtplib.SMTPException)
        if isinstance(fault, aiosmtplib.SMTPConnectError) and not is_greeting:
            phase = Phase.TLS  # the socket was connected already
    if phase is Phase.TLS:
        return phase, trouble.no_tls(f"the TLS handshake with {next_hop.host} failed: {fault}")
    is_late = isinstance(fault, TimeoutError)
    text = "did not answer in time" if is_late else _strerror(fault)
    return phase, trouble.from_loss(phase, f"{next_hop}: {text}")


def _refusal(phase: Phase, fault: aiosmtplib.SMTPResponseException) -> Outcome:
    lines = [f"{fault.code} {line}" for line in fault.message.split("\n")]
    try:
        reply = Reply.parse([line.encode("utf-8", "surrogateescape") for line in lines])
    except ReplySyntaxError:
        return trouble.from_loss(phase, "what the next hop said is no reply")
    return trouble.from_reply(phase, reply)


def _strerror(fault: Exception) -> str:
    """What the system says; asyncio puts addresses into the text of its own."""
    if isinstance(fault, socket.gaierror):
        return f"the name cannot be resolved: {fault.strerror}"
    if isinstance(fault, OSError) and fault.errno:
        return os.strerror(fault.errno)
    return str(fault) or type(fault).__name__
