"""`python -m tests.bench.individual`: recipients per second, each with octets of its own.

Messages with HTML for 100 recipients each come over HTTP; every recipient gets its own links,
pixel and way out, a reverse-path of its own, and both signatures over all of it, in a transaction
of its own. The daemon as it is installed (`synchronous=FULL`); Postfix's `smtp-sink` is the next
hop. Timed from the first request to the last outcome on disk; the daemon's time on the processors,
too, which says more on a machine that others use.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.rewrite import newsletter
from tests.peers.gateway import Gateway
from tests.peers.waiting import free_ports

RECIPIENTS = 100
WITHIN_S = 300.0
POLL_S = 0.2
SMALL = (
    "<html><body>"
    + "".join(
        f'<p>{"Lorem ipsum dolor sit amet. " * 10}</p><a href="https://shop.example/{number}">x</a>'
        for number in range(10)
    )
    + "</body></html>"
)


def measure(html: str, *, messages: int, tracked: bool, concurrency: int) -> tuple[float, float]:
    """Recipients per second, and milliseconds of processor time for each."""
    (port,) = free_ports(1)
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    sink = subprocess.Popen(["smtp-sink", *user, f"127.0.0.1:{port}", "500"])
    try:
        with tempfile.TemporaryDirectory() as directory:
            gateway = Gateway(
                Path(directory),
                smarthost=f'host = "127.0.0.1"\nport = {port}\ntls_mode = "none-on-loopback"\n',
                delivery=f"concurrency_max = {concurrency}\n",
                bounces="bounces.sender.test",
                is_public=True,
            )
            gateway.prepare()
            gateway.add_domain()
            with gateway:
                gateway.start()
                began, used = time.monotonic(), _processor_s(gateway)
                for message in range(messages):
                    _send(gateway, message, html, tracked=tracked)
                total = messages * RECIPIENTS
                _wait_for(gateway, total, until=began + WITHIN_S)
                rate = total / (time.monotonic() - began)
                return rate, (_processor_s(gateway) - used) * 1000 / total
    finally:
        sink.terminate()
        sink.wait()


def _processor_s(gateway: Gateway) -> float:
    """What the daemon has used so far, on all threads (proc(5): utime and stime)."""
    assert gateway.process is not None
    words = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _wait_for(gateway: Gateway, total: int, *, until: float) -> None:
    """Seldom, because to be asked for metrics costs the daemon time."""
    while gateway.metric("outbound_messages_sent_total") < total:
        if time.monotonic() > until:
            raise TimeoutError(gateway.tail())
        time.sleep(POLL_S)


def _send(gateway: Gateway, message: int, html: str, *, tracked: bool) -> None:
    status, answer = gateway.post(
        "/api/v1/messages/send",
        {
            "bcc": [f"u{message}.{number}@example.com" for number in range(RECIPIENTS)],
            "subject": "bench",
            "html": html,
            "track": ["opens", "clicks"] if tracked else "off",
        },
    )
    if status != 202:
        raise RuntimeError(f"{status}: {answer}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20, help="of 100 recipients each")
    parser.add_argument("--concurrency", type=int, default=20, help="connections to the next hop")
    options = parser.parse_args()
    size = {"messages": options.messages, "concurrency": options.concurrency}
    large = newsletter().decode().replace("\r\n", "\n")
    for name, html in (("4 KB, 10 links", SMALL), ("100 KB, 60 links", large)):
        for what, tracked in (("only a way out", False), ("tracked", True)):
            rate, used_ms = measure(html, tracked=tracked, **size)
            figures = f"{rate:6.0f} recipients/s  {used_ms:5.2f} ms of processor time each"
            print(f"{name:17} {what:15} {figures}")  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
