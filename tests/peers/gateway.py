"""Gateway: the daemon as a process of its own, with its own state directory and ports.

What an operator does before the first start (tables, mailbox, signing keys, token) is done by
`command`, as a person does it, or faster by `prepare` and `operate`: the same operations in this
process, while no daemon runs.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from gatewayd.clock import SystemClock
from gatewayd.config import load
from gatewayd.daemon import build
from gatewayd.daemon.statedir import owned
from gatewayd.domains.service import DnsRecord
from gatewayd.errors import StoreBroken
from gatewayd.mailboxes.accounts import Change
from gatewayd.metrics import Metrics
from gatewayd.tokens.claims import Scope
from gatewayd.tokens.service import Request
from tests.peers.certificates import Certificates, make_certificates
from tests.peers.programs import run
from tests.peers.waiting import eventually, free_ports
from tests.peers.web import fetch

T = TypeVar("T")

START_S = 120.0  # of a machine that does much else
STOP_S = 75.0  # the daemon's own limit is 60
GATEWAYD = (sys.executable, "-m", "gatewayd")


@dataclass(slots=True)
class Ports:
    """Loopback ports of one daemon. `plain` takes AUTH without TLS."""

    submission: int
    submissions: int
    plain: int
    http: int
    metrics: int
    bounces: int


@dataclass(slots=True)
class Gateway:
    """One daemon: its files, and the process while it runs.

    Args:
        directory: for everything it keeps.
        smarthost: the lines of `[delivery.smarthost]`; empty for none.
        bounces: the domain of reverse-paths; its listener is at `ports.bounces`. Empty for none.
        is_public: recipients reach it at `http_url`, so mail gets its links.
        extra: lines of other sections, at the end of the file.
    """

    directory: Path
    mailbox: str = "agent@sender.test"
    smarthost: str = ""
    delivery: str = ""
    retry: str = ""
    bounces: str = ""
    is_public: bool = False
    extra: str = ""
    hostname: str = "gateway.test"
    token: str = field(default="", init=False, repr=False)
    ports: Ports = field(init=False)
    certificates: Certificates = field(init=False)
    run_dir: Path = field(init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # A short path: that of a unix socket may have 107 octets.
        self.run_dir = Path(tempfile.mkdtemp(prefix="gatewayd-run-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ports = Ports(*free_ports(6))
        self.certificates = make_certificates(self.directory / "tls")
        self.write_config()

    @property
    def config_file(self) -> Path:
        return self.directory / "gatewayd.toml"

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    @property
    def log_file(self) -> Path:
        return self.directory / "stderr.log"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.http}"

    @property
    def smtp_url(self) -> str:
        return f"smtp://127.0.0.1:{self.ports.submission}"

    @property
    def smtps_url(self) -> str:
        return f"smtps://127.0.0.1:{self.ports.submissions}"

    def write_config(self) -> None:
        self.config_file.write_text(
            CONFIG.format(
                hostname=self.hostname,
                state_dir=self.state_dir,
                run_dir=self.run_dir,
                certificate=self.certificates.chain,
                private_key=self.certificates.key,
                ports=self.ports,
                public_url=self.http_url if self.is_public else "",
                delivery=self.delivery,
                retry=self.retry,
                smarthost=f"[delivery.smarthost]\n{self.smarthost}" if self.smarthost else "",
                bounces=BOUNCES.format(domain=self.bounces, port=self.ports.bounces)
                if self.bounces
                else "",
                extra=self.extra,
            )
        )

    # Before the daemon runs.

    def prepare(self) -> None:
        """Make the tables, the mailbox and a token for it."""
        with owned(self.state_dir):
            build.initialise(load.load(self.config_file), SystemClock())

        async def work(kernel: build.Kernel) -> str:
            await kernel.mailboxes.create(self.mailbox, Change())
            issued = await kernel.tokens.issue(
                Request(mailbox=self.mailbox, scopes=tuple(Scope), unlimited=True)
            )
            return issued.token

        self.token = self.operate(work)

    def add_domain(self) -> tuple[DnsRecord, ...]:
        """Make signing keys for the mailbox's domain; the records to publish."""
        domain = self.mailbox.partition("@")[2]
        return self.operate(lambda kernel: kernel.domains.add(domain))

    def operate(self, work: Callable[[build.Kernel], Awaitable[T]]) -> T:
        """Do an operator's work on the database, while no daemon runs."""

        async def run() -> T:
            config = load.load(self.config_file)
            kernel = build.kernel(
                config,
                clock=SystemClock(),
                metrics=Metrics(),
                smarthost=load.next_hop(config.delivery.smarthost),
                on_broken=_raise,
            )
            try:
                return await work(kernel)
            finally:
                await asyncio.to_thread(kernel.close)

        with owned(self.state_dir):
            return asyncio.run(run())

    def command(self, *words: str) -> Any:  # noqa: ANN401 - it is JSON
        """Run `gatewayd WORDS -c FILE --json`, as an operator does; what it prints."""
        return json.loads(run(*GATEWAYD, *words, "-c", self.config_file, "--json").stdout)

    # The process.

    def start(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        wrapper: tuple[str, ...] = (),
        may_die: bool = False,
        is_awaited: bool = True,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start the daemon and wait until it is ready, or gone if it `may_die` of a fail point."""
        assert self.process is None
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, *GATEWAYD, "serve", "-c", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                pass_fds=pass_fds,
            )
        if not is_awaited:
            return
        eventually(self._is_ready_or_gone, within_s=START_S, what=self.tail)
        assert may_die or self.is_alive(), self.tail()

    def _is_ready_or_gone(self) -> bool:
        return not self.is_alive() or self.is_ready()

    def is_ready(self) -> bool:
        try:
            fetch(f"http://127.0.0.1:{self.ports.metrics}/readyz", within_s=5)
        except (OSError, http.client.HTTPException):
            return False
        return True

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait_for_exit(self, within_s: float = STOP_S) -> int:
        """Its exit code; negative for a signal."""
        assert self.process is not None
        code = self.process.wait(within_s)
        self.process = None
        return code

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait_for_exit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def tail(self) -> str:
        """The end of its log, for a failed test."""
        return self.log_file.read_text(errors="replace")[-6000:] if self.log_file.exists() else ""

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What it logged under this name, so far."""
        found = []
        for line in self.log_file.read_text(errors="replace").splitlines():
            if f'"{event}"' in line:
                record = json.loads(line)
                if record.get("event") == event:
                    found.append(record)
        return found

    # Asking it.

    def post(
        self, path: str, body: Mapping[str, object], **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """POST of JSON to the API, as the mailbox: status and answer."""
        request = urllib.request.Request(  # noqa: S310 - to our own daemon
            f"{self.http_url}{path}",
            data=json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = fetch(f"http://127.0.0.1:{self.ports.metrics}/metrics").decode()
        values = re.findall(rf"(?m)^{name}(?:\{{[^}}]*\}})? (\S+)$", text)
        return sum(float(value) for value in values)


def _raise(error: StoreBroken) -> None:
    raise error


CONFIG = """\
[daemon]
hostname = "{hostname}"
state_dir = "{state_dir}"
run_dir = "{run_dir}"

[tls]
certificate = "{certificate}"
private_key = "{private_key}"

[[submission]]
name = "submission"
bind = "127.0.0.1:{ports.submission}"

[[submission]]
name = "submissions"
bind = "127.0.0.1:{ports.submissions}"
tls = "implicit"

[[submission]]
name = "plain"
bind = "127.0.0.1:{ports.plain}"
tls = "none"
auth_without_tls = true

[http]
bind = "127.0.0.1:{ports.http}"
public_url = "{public_url}"

[metrics]
bind = "127.0.0.1:{ports.metrics}"

[storage]
min_free_octets = 1
reserve_octets = 4096

[log]
addresses = "plain"

[delivery]
{delivery}

[delivery.retry]
{retry}

{smarthost}

{bounces}

{extra}
"""

BOUNCES = """\
[bounces]
domain = "{domain}"
bind = "127.0.0.1:{port}"
postmaster = "ops@sender.test"
"""
