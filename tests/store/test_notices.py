"""queue.notices, delivery.notify: what a submitter is owed reaches the queue, once."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from typing import Any

import pytest

from gatewayd import ids
from gatewayd.config.delivery import DeliverySection
from gatewayd.delivery.notify import Notifier
from gatewayd.errors import StoreUnavailable
from gatewayd.events import record
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import QueueId
from gatewayd.mail.message import RawMessage, SpooledBody
from gatewayd.queue.claim import Claim
from gatewayd.queue.enqueue import SANDBOX_LANE
from gatewayd.queue.notices import DueReport, Notices, Report
from gatewayd.reports.read import read
from gatewayd.reports.report import Action
from gatewayd.store import events, messages, notices, recipients
from gatewayd.store.database import Tx
from gatewayd.store.notices import NoticeRow
from tests.fakes import rows
from tests.fakes.clock import NOW
from tests.fakes.delivery import FakeLog
from tests.fakes.world import ANN, MESSAGE, World, submission

REFUSED = {
    "next_hop": "mx.example.net:25", "code": 550, "status": "5.1.1", "text": "no such user",
    "reason": "no such user",
}  # fmt: skip
WAIT_S = 30.0


async def owe(world: World, queue_id: QueueId, *, action: str = "failed", **data: Any) -> None:  # noqa: ANN401 - any fact
    """A notice for each recipient of a message."""

    def work(tx: Tx) -> None:
        owed = [
            NoticeRow(
                notice_id=ids.uuid7(NOW), queue_id=queue_id, recipient_id=one.recipient_id,
                action=action, data={**REFUSED, **data}, created_at=NOW,
            )
            for one in recipients.of_messages(tx, [queue_id])[queue_id]
        ]  # fmt: skip
        notices.add(tx, owed)

    await world.database.write(work)


def notifier(world: World, wakeup: Wakeup | None = None, log: FakeLog | None = None) -> Notifier:
    return Notifier(
        notices=Notices(world.database, wakeup=world.wakeup),
        spool=world.spool,
        hostname="mail.example.com",
        section=DeliverySection(),
        wakeup=wakeup or Wakeup(),
        clock=world.clock,
        metrics=world.metrics,
        log=log or FakeLog(),
        poll_s=WAIT_S,
    )


async def tell(world: World, log: FakeLog | None = None) -> None:
    """One round of a notifier."""
    await notifier(world, log=log)._round()


async def claimed(world: World) -> list[Claim]:
    """Everything that waits for delivery and came by the door of reports."""
    found = await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 500))
    return [one for one in found if one.reverse_path.is_null]


def octets(message: RawMessage) -> bytes:
    assert isinstance(message.body, bytes)
    return message.header.octets + b"\r\n" + message.body


async def test_report_goes_to_the_mailbox_by_its_own_lane(world: World) -> None:
    """From the null reverse-path, by no quota; the log of the message says which report it was."""
    queue_id = await world.sent("bob@example.net", "zoe@example.net")
    await owe(world, queue_id)
    await tell(world)

    (claim,) = await claimed(world)
    told = await world.database.read(lambda tx: events.of_message(tx, queue_id))
    report = read(octets(claim.message))
    assert (claim.mailbox, claim.sandbox) == (ANN, False)
    assert [str(one.forward_path) for one in claim.recipients] == [ANN]
    assert [(one.address, one.action, one.status) for one in report.recipients] == [
        ("bob@example.net", Action.FAILED, "5.1.1"),
        ("zoe@example.net", Action.FAILED, "5.1.1"),
    ]
    assert report.message_id == "<1@example.com>"
    assert [(one.type, one.data) for one in told[-2:]] == [
        ("recipient.notified", {"action": "failed", "notice_queue_id": claim.queue_id})
    ] * 2
    view = await world.inspector.message(claim.queue_id, claim.mailbox_id)
    assert (view.door, view.reverse_path) == ("dsn", "")


async def test_hundred_notices_are_one_transaction(world: World) -> None:
    """Of a hundred messages: one look, one write."""
    sent = [await world.sent() for _ in range(100)]
    for queue_id in sent:
        await owe(world, queue_id)
    outbox = Notices(world.database, wakeup=world.wakeup)
    due = await outbox.due()
    groups: list[int] = []
    world.database.observe_groups(lambda works, _: groups.append(works))

    assert await outbox.send([_made(one) for one in due]) == 100
    assert groups == [1]
    assert len(await claimed(world)) == 100
    assert await outbox.due() == []


def _made(due: DueReport, content: bytes = MESSAGE) -> Report:
    now = NOW + dt.timedelta(seconds=1)
    return Report(
        about=due, queue_id=ids.queue_id(now), recipient_id=ids.recipient_id(now),
        message=RawMessage.parse(content),
    )  # fmt: skip


async def test_crash_while_sending_sends_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a broken transaction stays: neither the report, nor the loss of the notice."""
    await owe(world, await world.sent())
    outbox = Notices(world.database, wakeup=world.wakeup)
    due = await outbox.due()
    append = record.append

    def broken(tx: Tx, given: Any) -> None:  # noqa: ANN401 - as it is called
        append(tx, given)
        raise StoreUnavailable("the power went")

    monkeypatch.setattr(record, "append", broken)
    with pytest.raises(StoreUnavailable):
        await outbox.send([_made(one) for one in due])
    monkeypatch.undo()
    again = await outbox.due()

    assert [one.queue_id for one in again] == [one.queue_id for one in due]
    assert await outbox.send([_made(one) for one in again]) == 1
    assert await outbox.send([_made(one) for one in again]) == 0
    assert len(await claimed(world)) == 1


async def test_two_nodes_tell_once(world: World) -> None:
    """Both have composed the report; the second finds its notices gone."""
    await owe(world, await world.sent())
    other = world.second()
    first, second = (Notices(one.database, wakeup=one.wakeup) for one in (world, other))
    of_first, of_second = await first.due(), await second.due()

    assert await first.send([_made(one) for one in of_first]) == 1
    assert await second.send([_made(one) for one in of_second]) == 0
    assert len(await claimed(world)) == 1


async def test_notice_that_came_meanwhile_is_told_in_the_next_report(world: World) -> None:
    queue_id = await world.sent()
    await owe(world, queue_id, action="delayed")
    outbox = Notices(world.database, wakeup=world.wakeup)
    due = await outbox.due()
    await owe(world, queue_id)

    assert await outbox.send([_made(one) for one in due]) == 1
    assert [one.action for due in await outbox.due() for one in due.notices] == ["failed"]


async def test_message_is_not_told_of_in_two_reports(world: World) -> None:
    """What does not fit in one round is left whole for the next one."""
    to = [f"r{number}@example.net" for number in range(90)]
    for queue_id in [await world.sent(*to) for _ in range(3)]:
        await owe(world, queue_id)
    outbox = Notices(world.database, wakeup=world.wakeup)

    due = await outbox.due()
    assert [len(one.notices) for one in due] == [90, 90]
    assert await outbox.send([_made(one) for one in due]) == 2
    assert [len(one.notices) for one in await outbox.due()] == [90]


async def _about_a_null_reverse_path(world: World) -> QueueId:
    queue_id = QueueId(ids.queue_id(NOW))
    await world.principal()
    given = rows.recipient(queue_id, 0)
    owner = (await world.mailboxes.get(ANN)).mailbox_id
    await rows.keep_message(world.database, queue_id, given, mailbox_id=owner, reverse_path="")
    return queue_id


async def _of_nobody(world: World) -> QueueId:
    queue_id = QueueId(ids.queue_id(NOW))
    await rows.keep_message(world.database, queue_id, rows.recipient(queue_id, 0))
    return queue_id


async def _forgotten(world: World) -> QueueId:
    return await world.sent()


@pytest.mark.parametrize("make", [_about_a_null_reverse_path, _of_nobody, _forgotten])
async def test_what_nobody_can_be_told_is_dropped(world: World, make: Any) -> None:  # noqa: ANN401 - one of the three
    """Never in answer to `<>`; nor where mailbox or message are gone (RFC 5321 6.1)."""
    queue_id = await make(world)
    await owe(world, queue_id)
    if make is _forgotten:
        await world.database.write(lambda tx: messages.remove(tx, [queue_id]))

    assert await Notices(world.database, wakeup=world.wakeup).due() == []
    assert await world.database.write(lambda tx: notices.take(tx, 10)) == []


async def test_sandbox_mail_is_reported_in_the_sandbox(world: World) -> None:
    """A report about what never left the machine does not leave it."""
    principal = await world.principal(sandbox=True)
    accepted = await world.intake.accept(submission(principal))
    await owe(world, accepted.queue_id)
    await tell(world)

    assert list(await world.queue.lanes()) == [SANDBOX_LANE]
    (claim,) = await claimed(world)
    assert claim.sandbox


@pytest.mark.parametrize(("size", "is_returned"), [(100_000, True), (300_000, False)])
async def test_spooled_message_comes_back_up_to_a_bound(
    world: World, size: int, is_returned: bool
) -> None:
    """RET=FULL of what lies in the spool; above 256 KiB the header comes back alone."""
    line = b"x" * 76 + b"\r\n"
    writer = world.spool.incoming()
    writer.write(line * (size // len(line)))
    body = await writer.finish()
    assert isinstance(body, SpooledBody)
    queue_id = QueueId(ids.queue_id(NOW))
    await world.principal()
    owner = (await world.mailboxes.get(ANN)).mailbox_id
    await keep_spooled(world, queue_id, owner, body)
    await owe(world, queue_id)
    await tell(world)

    (claim,) = await claimed(world)
    found = claim.message.body
    whole = b"".join(world.spool.blocks(found))
    assert (line in whole) is is_returned
    assert isinstance(found, SpooledBody) is is_returned
    await world.spool.check(found)


async def keep_spooled(world: World, queue_id: QueueId, owner: str, body: SpooledBody) -> None:
    row = rows.message(
        queue_id, mailbox_id=owner, ret="FULL", spool_key=body.key, spool_sha256=body.sha256
    )
    octets_row = dataclasses.replace(rows.octets(queue_id, None), body_octets=body.size_octets)

    def work(tx: Tx) -> None:
        messages.add(tx, [row], [octets_row])
        rows.add_recipients(tx, [rows.recipient(queue_id, 0)])

    await world.database.write(work)


async def test_report_that_cannot_be_made_stops_no_other(world: World) -> None:
    """It is dropped, and the log says so; the facts stay in the events."""
    broken, good = await world.sent(), await world.sent()
    await owe(world, broken, action="nonsense")
    await owe(world, good)
    log = FakeLog()
    await tell(world, log)

    assert len(await claimed(world)) == 1
    assert "notice_broke" in log.events


async def test_nudge_and_drain(world: World) -> None:
    """A notifier sleeps until it is nudged, and ends when it is told to."""
    wakeup = Wakeup()
    service, ready = notifier(world, wakeup), asyncio.Event()
    async with asyncio.TaskGroup() as group, asyncio.timeout(WAIT_S / 2):
        group.create_task(service.run(ready))
        await ready.wait()
        await owe(world, await world.sent())
        wakeup.notify()
        await world.wakeup.wait(None)  # the dispatcher is told that there is work
        await service.drain(0)
    assert len(await claimed(world)) == 1
