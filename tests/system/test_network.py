"""The network fails: cut, reset, half closed, slow, silent. No mail is lost, none comes by half.

| what                                         | what is seen                                  |
|----------------------------------------------|-----------------------------------------------|
| a client is cut off before its final dot     | nothing is queued, nothing left in the spool  |
| the next hop is cut off before the body      | sent again; in doubt 0, twice 0               |
| the next hop is cut off after the final dot  | in doubt, and sent again: twice at most once  |
| one octet in a packet; a delay before each   | all arrives once                              |
| the next hop is a black hole                 | deferred by `connect_s`; others go their way  |
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gatewayd.mailboxes.accounts import Change
from tests.fakes.smtp_sink import SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.ledger import Entry, Ledger, send
from tests.peers.netns import dark_network
from tests.peers.proxy import Fault, How, Proxy, Side
from tests.peers.traffic import Books, assert_reconciled
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROUND_S = 60.0
MARK = b"the middle of the body"
HELLO = MARK.decode() + "\r\n" + ("x" * 76 + "\r\n") * 20
LARGE = ("x" * 76 + "\r\n") * 2000  # a file of the spool
INSIDE_DATA = (100, 3_000, 100_000)  # octets behind DATA
AFTER_354 = b"354 go ahead\r\n"

HOWS = tuple(How)


def cuts(side: Side, *places: int | bytes, hows: Sequence[How] = HOWS) -> list[Fault]:
    return [Fault(how=how, side=side, after=after) for after in places for how in hows]


# Nobody hears 354. Half closed by the client's side it would be heard.
BEFORE_THE_BODY = [
    *cuts(Side.SERVER, 10, b"250-8BIT", b"354 go a"),
    *cuts(Side.CLIENT, b"MAIL FROM"),
    *cuts(Side.CLIENT, b"DATA\r\n", hows=(How.FIN, How.RST)),
]
# Whoever is faster: the cut is seen before the dot is written, or after it.
INSIDE = [*cuts(Side.SERVER, AFTER_354), *cuts(Side.CLIENT, MARK)]
AFTER_THE_DOT = [
    *cuts(Side.CLIENT, b"\r\n.\r\n", hows=(How.FIN, How.RST)),
    *cuts(Side.SERVER, AFTER_354 + b"250 2.0.0 t"),
]


def gateway_to(port: int, directory: Path, delivery: str = "") -> Gateway:
    return Gateway(
        directory,
        smarthost=f'host = "127.0.0.1"\nport = {port}\ntls_mode = "none-on-loopback"\n',
        retry="first_s = 0.2\nfactor = 1.0\nattempts = 1000\n",
        delivery=delivery,
    )


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as running:
        yield running


def submit_through(port: int, gateway: Gateway, octets: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.login(gateway.mailbox, gateway.token)
        client.sendmail(gateway.mailbox, ["ann@rcpt.test"], octets)


def spooled(gateway: Gateway) -> list[Path]:
    return [path for path in (gateway.state_dir / "spool").rglob("*") if path.is_file()]


def test_client_that_is_cut_off_before_its_dot_leaves_nothing(
    sink: SmtpSink, tmp_path: Path
) -> None:
    """Cut by FIN, by RST, on one side only; in the first lines, in memory, in the spool."""
    with (
        gateway_to(sink.port, tmp_path) as gateway,
        Proxy(gateway.ports.plain) as proxy,
    ):
        gateway.prepare()
        gateway.start()
        octets = f"Subject: cut\r\n\r\n{LARGE}".encode()
        faults = cuts(Side.CLIENT, *(octets[:after] for after in INSIDE_DATA))
        for cut in faults:
            proxy.arm(cut)
            with pytest.raises((OSError, smtplib.SMTPServerDisconnected)):
                submit_through(proxy.port, gateway, octets)
        eventually(lambda: not spooled(gateway), within_s=ROUND_S, what=gateway.tail)

        assert proxy.cuts == len(faults)
        assert Books(gateway).select("SELECT count(*) FROM messages") == [(0,)]
        submit_through(proxy.port, gateway, octets)
        eventually(lambda: len(sink.copies) == 1, within_s=ROUND_S, what=gateway.tail)
        assert gateway.stop() == 0


def test_next_hop_that_is_cut_off_costs_no_mail(sink: SmtpSink, tmp_path: Path) -> None:
    """Before the dot it is safe to send again; after it the copy is in doubt, and counted."""
    ledger = Ledger()
    one_by_one = "concurrency_start = 1\nconcurrency_max = 1\nmessages_per_connection = 1\n"
    with Proxy(sink.port) as proxy, gateway_to(proxy.port, tmp_path, one_by_one) as gateway:
        gateway.prepare()
        gateway.start()
        books = Books(gateway)
        in_doubt = []
        for faults in (BEFORE_THE_BODY, INSIDE, AFTER_THE_DOT):
            # In turns with whole connections: after three that fail there is a pause of 30 s.
            proxy.arm(*(each for fault in faults for each in (fault, None)))
            ledger.submit(gateway, len(faults), clients=1, text=HELLO)
            eventually(books.is_drained, within_s=ROUND_S, what=gateway.tail)
            in_doubt.append(books.in_doubt().total())

            assert_reconciled(ledger.compare(sink.copies), books.in_doubt())
        assert in_doubt[0] == 0
        assert in_doubt[2] - in_doubt[1] == len(AFTER_THE_DOT)
        assert proxy.cuts == len(ledger.entries)
        assert gateway.stop() == 0


@pytest.mark.parametrize(("chunk_octets", "delay_s"), [(1, 0.0), (65_536, 0.02)])
def test_slow_line_on_both_sides_changes_nothing(
    sink: SmtpSink, tmp_path: Path, chunk_octets: int, delay_s: float
) -> None:
    """Each command, reply and line comes in pieces, or late; each message arrives once."""
    with (
        Proxy(sink.port, chunk_octets=chunk_octets, delay_s=delay_s) as out,
        gateway_to(out.port, tmp_path) as gateway,
        Proxy(gateway.ports.plain, chunk_octets=chunk_octets, delay_s=delay_s) as way_in,
    ):
        gateway.prepare()
        gateway.start()
        for number in range(4):
            submit_through(way_in.port, gateway, f"Subject: {number}\r\n\r\n{HELLO}".encode())
        eventually(Books(gateway).is_drained, within_s=ROUND_S, what=gateway.tail)
        assert gateway.stop() == 0

    assert {"0", "1", "2", "3"} == {copy.field("Subject") for copy in sink.copies}
    assert len(sink.copies) == 4
    assert all(copy.octets.endswith(HELLO.encode()) for copy in sink.copies)


@pytest.mark.peer
def test_next_hop_that_never_answers_delays_nobody_else(tmp_path: Path) -> None:
    """Mail for a black hole waits in connect(); mail of others is delivered meanwhile."""
    with dark_network() as black_hole, SmtpSink() as sink:
        patient = "concurrency_start = 5\nconcurrency_max = 5\nconnect_s = 600\n"
        with gateway_to(sink.port, tmp_path, patient) as gateway:
            gateway.mailbox = "dark@sender.test"
            gateway.prepare()
            gateway.operate(
                lambda kernel: kernel.mailboxes.update(
                    "dark@sender.test",
                    Change(
                        next_hop_host=black_hole,
                        next_hop_port=25,
                        next_hop_tls_mode="starttls_required",
                    ),
                )
            )
            dark = gateway.token, gateway.mailbox
            gateway.mailbox = "agent@sender.test"
            gateway.prepare()
            gateway.start()
            books = Books(gateway)
            for number in range(8):
                _send_as(gateway, dark, number)
            eventually(lambda: _dark_claimed(books) >= 5, within_s=ROUND_S, what=gateway.tail)
            for number in range(20):
                assert send(gateway, Entry(number, "http"))

            eventually(lambda: len(sink.copies) == 20, within_s=ROUND_S, what=gateway.tail)
            assert _dark_claimed(books) >= 5
            assert gateway.process is not None
            gateway.process.kill()
            gateway.wait_for_exit()
            gateway.delivery = patient.replace("600", "1")
            gateway.write_config()
            gateway.start()
            deferred = "SELECT DISTINCT queue_id FROM events WHERE type = 'recipient.deferred'"
            eventually(
                lambda: len(books.select(deferred)) >= 5, within_s=ROUND_S, what=gateway.tail
            )
            assert gateway.stop() == 0


def _send_as(gateway: Gateway, who: tuple[str, str], number: int) -> None:
    own = gateway.token, gateway.mailbox
    gateway.token, gateway.mailbox = who
    assert send(gateway, Entry(number, "http"))
    gateway.token, gateway.mailbox = own


def _dark_claimed(books: Books) -> int:
    ((count,),) = books.select(
        "SELECT count(*) FROM recipients JOIN messages USING (queue_id)"
        " WHERE state = 'claimed' AND reverse_path = 'dark@sender.test'"
    )
    return int(count)
