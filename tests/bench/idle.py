"""`python -m tests.bench.idle [--connections 10000]`: clients that are connected and say nothing.

| figure       | measured                                                                      |
|--------------|-------------------------------------------------------------------------------|
| memory       | resident with all of them there, and after they have gone                      |
| lag          | NOOP and its reply on one more connection: while they come, and while they idle |
| one too many | what the connection above the cap is told                                     |
| sockets      | of the daemon, before they came and after they have gone                       |

First in plaintext, then in TLS from the first octet, each with a daemon of its own; logged in, as a
stranger is not kept when so many are there. The clients are a process of their own, at as many
addresses of loopback as the cap for one address asks for. The caps for all, for a token and for
idle commands are raised in the daemon's configuration, and so is its patience with who says
nothing. Both processes need a descriptor for each connection (`ulimit -n`).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import multiprocessing
import resource
import smtplib
import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from tests.bench.processes import resident_mib
from tests.peers.gateway import Gateway
from tests.peers.waiting import eventually

AT_ONE_ADDRESS: Final = 40  # limits.connections_per_ip is 50
AT_ONCE: Final = 8  # handshakes
PROBES: Final = 600
PROBE_EVERY_S: Final = 0.02
WITHIN_S: Final = 300.0
SETTLED_S: Final = 25.0  # memory is given back every 10 s
OWN_DESCRIPTORS: Final = 200

CONFIG: Final = """
[limits]
connections = {cap}
connections_per_token = {cap}
idle_commands = 1000000

[timeouts]
command_s = 3600
session_s = 7200
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the clients connect. ca: None for plaintext."""

    port: int
    login: str
    ca: str | None


class Clients:
    """Idle clients, in a process of their own."""

    def __init__(self, door: Door, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_hold, args=(door, count, other), daemon=True)
        self._process.start()

    def connect(self) -> None:
        """Have them all connected and logged in."""
        self._pipe.send("connect")
        if not self._pipe.poll(WITHIN_S):
            raise TimeoutError("the clients are not connected")
        said = self._pipe.recv()
        if said != "connected":
            raise ConnectionError(said)

    def close(self) -> None:
        self._pipe.send("close")
        self._process.join(WITHIN_S)


def _hold(door: Door, count: int, pipe: Connection) -> None:
    """What the process does: connect when told so, and close when told so."""
    pipe.recv()
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            clients = list(pool.map(lambda number: _connect(door, number), range(count)))
    except Exception as error:  # noqa: BLE001 - it is raised again on the other side
        pipe.send(repr(error))
        return
    pipe.send("connected")
    pipe.recv()
    for client in clients:
        client.close()


def _connect(door: Door, number: int) -> socket.socket:
    address = number // AT_ONE_ADDRESS
    client = socket.create_connection(
        ("127.0.0.1", door.port),
        timeout=60,
        source_address=(f"127.1.{address // 250}.{1 + address % 250}", 0),
    )
    if door.ca is not None:
        client = _context(door.ca).wrap_socket(client, server_hostname="127.0.0.1")
    _expect(client, b"220")
    client.sendall(b"EHLO idle.test\r\n")
    _expect(client, b"250")
    client.sendall(f"AUTH PLAIN {door.login}\r\n".encode())
    _expect(client, b"235")
    return client


_contexts: dict[str, ssl.SSLContext] = {}


def _context(ca: str) -> ssl.SSLContext:
    found = _contexts.get(ca)
    if found is None:
        found = _contexts[ca] = ssl.create_default_context(cafile=ca)
    return found


def _expect(client: socket.socket, code: bytes) -> None:
    """Read one whole reply."""
    said = b""
    while not said.endswith(b"\r\n") or said.splitlines()[-1][3:4] == b"-":
        some = client.recv(4096)
        if not some:
            raise ConnectionError(f"closed after {said!r}")
        said += some
    if not said.startswith(code):
        raise ConnectionError(f"expected {code!r}, got {said!r}")


class Probe:
    """One more connection, that asks again and again and notes how long the reply takes."""

    def __init__(self, gateway: Gateway) -> None:
        self._client = smtplib.SMTP("127.0.0.1", gateway.ports.plain, timeout=60)
        self._client.login(gateway.mailbox, gateway.token)

    def ask(self) -> float:
        """Milliseconds that a NOOP took."""
        began = time.perf_counter()
        code, text = self._client.noop()
        if code != 250:
            raise ConnectionError(f"{code} {text!r}")
        return (time.perf_counter() - began) * 1000

    @contextlib.contextmanager
    def asking(self, waits: list[float]) -> Iterator[None]:
        """Ask in a thread, while something else goes on."""
        stopping = threading.Event()

        def ask() -> None:
            while not stopping.wait(PROBE_EVERY_S):
                waits.append(self.ask())

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()

    def close(self) -> None:
        self._client.close()


@dataclass(slots=True)
class Figures:
    """What was seen of one daemon; memory in MiB, waits in milliseconds."""

    empty: float = 0.0
    full: float = 0.0
    after: float = 0.0
    connecting_s: float = 0.0
    waits_while_coming: list[float] = field(default_factory=list)
    waits_while_idle: list[float] = field(default_factory=list)
    too_many: bytes = b""
    sockets: tuple[int, int] = (0, 0)


def sockets(pid: int) -> int:
    """Descriptors of a process that are sockets; files are opened when they are first needed."""
    found = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found += str(each.readlink()).startswith("socket:")
    return found


def gateway_for(directory: Path, connections: int) -> Gateway:
    """A daemon that takes so many connections, and one more: the probe."""
    return Gateway(directory, extra=CONFIG.format(cap=connections + 1))


def measure(
    gateway: Gateway,
    connections: int,
    *,
    tls: bool,
    probes: int = PROBES,
    settled_s: float = SETTLED_S,
) -> Figures:
    """Connect them all to a daemon that runs, look, let them go, and look again."""
    assert gateway.process is not None
    pid = gateway.process.pid
    figures = Figures()
    login = base64.b64encode(f"\0{gateway.mailbox}\0{gateway.token}".encode()).decode()
    ports = gateway.ports
    door = Door(
        port=ports.submissions if tls else ports.plain,
        login=login,
        ca=str(gateway.certificates.ca) if tls else None,
    )
    probe = Probe(gateway)
    clients = Clients(door, connections)
    for _ in range(20):
        probe.ask()
    figures.empty, before = resident_mib(pid), sockets(pid)
    began = time.monotonic()
    with probe.asking(figures.waits_while_coming):
        clients.connect()
    figures.connecting_s = time.monotonic() - began
    with probe.asking(figures.waits_while_idle):
        eventually(lambda: len(figures.waits_while_idle) >= probes, within_s=WITHIN_S)
    figures.full = resident_mib(pid)
    with socket.create_connection(("127.0.0.1", ports.plain), timeout=60) as one_more:
        figures.too_many = one_more.recv(200)
    clients.close()
    eventually(lambda: gateway.metric("smtp_sessions") == 1, within_s=WITHIN_S)
    eventually(lambda: sockets(pid) <= before, within_s=WITHIN_S)
    figures.sockets = before, sockets(pid)
    time.sleep(settled_s)
    probe.ask()
    figures.after = resident_mib(pid)
    probe.close()
    return figures


def line(name: str, figures: Figures, connections: int) -> str:
    each = (figures.full - figures.empty) * 1024 / connections
    waits = " | ".join(
        f"{statistics.median(some):.1f}, {sorted(some)[len(some) * 99 // 100]:.1f}, {max(some):.1f}"
        for some in (figures.waits_while_coming, figures.waits_while_idle)
    )
    before, after = figures.sockets
    return (
        f"| {name} | {figures.empty:.0f} | {figures.full:.0f} | {each:.1f} KiB "
        f"| {figures.after:.0f} | {waits} | {figures.too_many[:9].decode()} | {before}, {after} "
        f"| {figures.connecting_s:.0f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=10_000)
    connections = parser.parse_args().connections
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < connections + OWN_DESCRIPTORS:
        raise SystemExit(f"ulimit -n allows {most} descriptors")
    print(  # noqa: T201 - its purpose
        "| clients | MiB without | MiB with | each | MiB after | NOOP while they come: median, p99,"
        " max ms | while they idle | one too many | sockets | connecting |\n" + "|---" * 10 + "|",
        flush=True,
    )
    for name, tls in (("plaintext", False), ("TLS", True)):
        with tempfile.TemporaryDirectory() as directory:
            gateway = gateway_for(Path(directory), connections)
            gateway.prepare()
            with gateway:
                gateway.start()
                figures = measure(gateway, connections, tls=tls)
                assert gateway.stop() == 0, gateway.tail()
        print(line(name, figures, connections), flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    main()
