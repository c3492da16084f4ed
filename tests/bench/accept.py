"""`python -m tests.bench.accept`: messages per second accepted, and accepted to delivered.

The daemon as it is installed (`synchronous=FULL`, token, quota, both DKIM signatures) takes 4 KiB
messages over SMTP AUTH on plaintext loopback: 20 connections, 100 messages each, from a process of
its own. Postfix's `smtp-sink` is the next hop. Twice: while it delivers, and with no next hop that
answers, which is what accepting alone costs.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.peers.gateway import Gateway
from tests.peers.waiting import eventually, free_ports

BODY = (b"x" * 76 + b"\r\n") * 52
WITHIN_S = 300.0


async def _reply(reader: asyncio.StreamReader, code: bytes) -> None:
    line = await reader.readline()
    while line[3:4] == b"-":
        line = await reader.readline()
    if not line.startswith(code):
        raise RuntimeError(f"expected {code.decode()}, got {line.decode()}")


async def _session(port: int, mailbox: str, token: str, *, number: int, messages: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await _reply(reader, b"220")
    login = base64.b64encode(f"\0{mailbox}\0{token}".encode())
    for command, code in ((b"EHLO bench", b"250"), (b"AUTH PLAIN " + login, b"235")):
        writer.write(command + b"\r\n")
        await _reply(reader, code)
    text = f"From: {mailbox}\r\nTo: a@example.com\r\nSubject: bench\r\n\r\n".encode() + BODY
    for message in range(messages):
        forward_path = f"u{number}.{message}@example.com"
        envelope = f"MAIL FROM:<{mailbox}>\r\nRCPT TO:<{forward_path}>\r\nDATA\r\n"
        writer.write(envelope.encode())
        for code in (b"250", b"250", b"354"):
            await _reply(reader, code)
        writer.write(text + b".\r\n")
        await _reply(reader, b"250")
    writer.write(b"QUIT\r\n")
    await _reply(reader, b"221")
    writer.close()


def _submit(port: int, mailbox: str, token: str, connections: int, messages: int) -> None:
    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(_session(port, mailbox, token, number=number, messages=messages))

    asyncio.run(run())


def measure(*, connections: int, messages: int, delivering: bool) -> tuple[float, float | None]:
    """Messages per second accepted, and from the first of them to the last delivered."""
    total = connections * messages
    (port,) = free_ports(1)
    sink = None
    if delivering:
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        sink = subprocess.Popen(["smtp-sink", *user, f"127.0.0.1:{port}", "500"])
    try:
        with tempfile.TemporaryDirectory() as directory:
            gateway = Gateway(
                Path(directory),
                smarthost=f'host = "127.0.0.1"\nport = {port}\ntls_mode = "none-on-loopback"\n',
            )
            gateway.prepare()
            gateway.add_domain()
            with gateway:
                gateway.start()
                given = (gateway.ports.plain, gateway.mailbox, gateway.token)
                began = time.monotonic()
                client = multiprocessing.Process(
                    target=_submit, args=(*given, connections, messages)
                )
                client.start()
                client.join(WITHIN_S)
                accepted = total / (time.monotonic() - began)
                if not delivering:
                    return accepted, None
                eventually(
                    lambda: gateway.metric("outbound_messages_sent_total") >= total,
                    within_s=WITHIN_S,
                )
                return accepted, total / (time.monotonic() - began)
    finally:
        if sink is not None:
            sink.terminate()
            sink.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--messages", type=int, default=100, help="for each connection")
    options = parser.parse_args()
    size = {"connections": options.connections, "messages": options.messages}
    alone, _ = measure(**size, delivering=False)
    print(f"accepted, nothing delivered   {alone:6.0f} messages/s")  # noqa: T201 - its purpose
    if shutil.which("smtp-sink") is None:
        print("smtp-sink is missing: install Postfix to measure delivery")  # noqa: T201 - as above
        return
    accepted, delivered = measure(**size, delivering=True)
    print(f"accepted while delivering     {accepted:6.0f} messages/s")  # noqa: T201 - as above
    print(f"accepted to delivered         {delivered or 0:6.0f} messages/s")  # noqa: T201 - as above


if __name__ == "__main__":
    main()
