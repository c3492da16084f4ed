"""Target: an installed daemon that is attacked, its next hop, and what must be true afterwards."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatewayd.daemon.build import Kernel
from gatewayd.mailboxes.accounts import Change
from gatewayd.tokens.claims import Scope
from gatewayd.tokens.service import Issued, Request
from tests.fakes.smtp_sink import Copy, SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.waiting import eventually
from tests.peers.wire import Answer, Wire, request

SOON_S = 60.0
SEND = "/api/v1/messages/send"
MAIL: dict[str, Any] = {"to": "ann@rcpt.test", "subject": "Hello", "text": "Hello Ann.\n"}
OTHER = "other@sender.test"


@dataclass(slots=True)
class Target:
    """The daemon, where its mail goes, and a token of each kind.

    issued: by name: `full`, `reader`, `sender`, `other` (another mailbox), `limited` (10 an hour),
    `revoked` (when the test says so).
    """

    gateway: Gateway
    sink: SmtpSink
    issued: dict[str, Issued] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def ask(self, octets: bytes, *, source: str = "127.0.0.1", method: str = "GET") -> Answer:
        """What is answered to these octets, on a connection of its own."""
        with Wire(self.gateway.ports.http, source=source) as wire:
            return wire.ask(octets, method)

    def post(self, body: object, *, to: str = SEND, token: str = "", **fields: str) -> Answer:
        """POST of JSON, or of octets."""
        octets = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        with_token = token or self.gateway.token
        return self.ask(request("POST", to, token=with_token, body=octets, fields=named.items()))

    def get(self, path: str | bytes, *, token: str = "") -> Answer:
        return self.ask(request("GET", path, token=token or self.gateway.token))

    @property
    def control_socket(self) -> Path:
        return self.gateway.run_dir / "control.sock"

    def operate(self, method: str, path: str, body: object = None) -> Answer:
        """A call of the operator API, as commands make it."""
        octets = None if body is None else json.dumps(body).encode()
        with Wire(self.control_socket) as wire:
            return wire.ask(request(method, path, body=octets), method)

    def resident(self) -> int:
        """Octets of memory that the process has."""
        assert self.gateway.process is not None
        text = Path(f"/proc/{self.gateway.process.pid}/status").read_text()
        return 1024 * int(text.partition("VmRSS:")[2].split()[0])

    def mark(self) -> str:
        """A subject that no other message has."""
        return f"mark-{next(self._numbers)}."

    def copy(self, subject: str) -> Copy:
        """What arrived with this subject, once it is there."""
        found = eventually(
            lambda: [copy for copy in self.sink.copies if copy.field("subject") == subject],
            within_s=SOON_S,
            what=self.gateway.tail,
        )
        return found[0]

    def assert_goes_on(self) -> None:
        """It takes a plain message and delivers it, and nothing broke inside."""
        subject = self.mark()
        assert self.post({**MAIL, "subject": subject}).status == 202, self.gateway.tail()
        self.copy(subject)
        assert self.faults() == []

    def faults(self) -> list[str]:
        """Lines of its log that tell of a failure."""
        return [line for line in self.log_lines() if _is_fault(line)]

    def log_lines(self) -> list[str]:
        """Its log so far, but for a line that it is about to write."""
        whole, _, _ = self.gateway.log_file.read_text(errors="replace").rpartition("\n")
        return whole.splitlines()


def _is_fault(line: str) -> bool:
    """JSON has the level in it; what is no JSON was not written by our log."""
    try:
        record = json.loads(line)
    except ValueError:
        return True
    return record.get("level") in {"error", "critical"} or "exception" in record


@contextlib.contextmanager
def target(
    directory: Path,
    *,
    http: str = "",
    refused: Mapping[str, bytes] | None = None,
    **settings: Any,  # noqa: ANN401 - of Gateway
) -> Iterator[Target]:
    """One that runs until the end, which is an orderly one.

    Args:
        directory: for everything it keeps.
        http: more lines of `[http]`.
        refused: what the next hop answers to RCPT of an address.
        settings: the rest of Gateway's.
    """
    with (
        SmtpSink(refused=refused) as sink,
        Gateway(
            directory,
            smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
            **settings,
        ) as gateway,
    ):
        text = gateway.config_file.read_text()
        gateway.config_file.write_text(text.replace("[http]\n", f"[http]\n{http}\n"))
        gateway.prepare()
        issued = gateway.operate(_issue)
        gateway.start()
        yield Target(gateway, sink, dict(issued))
        assert gateway.stop() == 0


async def _issue(kernel: Kernel) -> Mapping[str, Issued]:
    await kernel.mailboxes.create(OTHER, Change())
    mailbox, every = "agent@sender.test", tuple(Scope)
    wanted = {
        "full": Request(mailbox=mailbox, scopes=every, unlimited=True),
        "reader": Request(mailbox=mailbox, scopes=(Scope.MESSAGES_READ,), unlimited=True),
        "sender": Request(mailbox=mailbox, scopes=(Scope.MESSAGES_SEND,), unlimited=True),
        "other": Request(mailbox=OTHER, scopes=every, unlimited=True),
        "limited": Request(mailbox=mailbox, scopes=every, hourly=10, daily=10),
        "revoked": Request(mailbox=mailbox, scopes=every, unlimited=True),
    }
    return {name: await kernel.tokens.issue(each) for name, each in wanted.items()}
