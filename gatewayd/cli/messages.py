"""gatewayd messages: list, show, explain, retry, cancel, hold, release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewayd.cli.client import Operator, call, part
from gatewayd.cli.output import (
    AsJson,
    ConfigFile,
    clean,
    instant,
    note,
    show_facts,
    show_json,
    show_table,
)
from gatewayd.cli.start import CONFIG
from gatewayd.errors import Code, Refused

app = typer.Typer(help="Accepted mail, and what became of it.", no_args_is_help=True)

QueueIdArgument = Annotated[str, typer.Argument(help="As in the answer to the client.")]
QueueIds = Annotated[list[str] | None, typer.Argument(help="One or several.")]
Mailbox = Annotated[str | None, typer.Option(help="Of this mailbox.")]
InState = Annotated[
    str | None,
    typer.Option(
        help="With a recipient that is queued, claimed, delivered, failed, in_doubt, expired, "
        "held, cancelled or bounced."
    ),
]


@app.command("list")
def show_all(
    mailbox: Mailbox = None,
    state: InState = None,
    recipient: Annotated[str | None, typer.Option(help="To this address.")] = None,
    tag: Annotated[str | None, typer.Option(help="With this tag.")] = None,
    since: Annotated[str | None, typer.Option(help="Such as 2026-11-21T08:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="As --since.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 50,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """List messages, the newest first."""
    found = call(
        config,
        lambda operator: operator.get(
            "/messages",
            mailbox=mailbox,
            state=state,
            recipient=recipient,
            tag=tag,
            since=since,
            until=until,
            cursor=cursor,
            limit=limit,
        ),
    )
    rows = found["items"] if json else [_row(item) for item in found["items"]]
    columns = ("queue_id", "accepted_at", "mailbox", "recipients", "states", "subject")
    show_table(rows, columns, as_json=json, more=found["next_cursor"])


@app.command()
def show(queue_id: QueueIdArgument, config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Show one message with recipients and attempts."""
    found = call(config, lambda operator: operator.get(f"/messages/{part(queue_id)}"))
    if json:
        show_json(found)
        return
    names = ("queue_id", "mailbox", "door", "accepted_at", "subject", "message_id",
             "size_octets", "tags", "metadata", "track", "is_dsn")  # fmt: skip
    show_facts({name: found[name] for name in names}, as_json=False)
    facts = ("address", "state", "attempts", "next_attempt_at", "delivered_at", "bounced_at",
             "bounce_reason", "opened_at", "clicked_at", "complained_at", "unsubscribed_at",
             "last_reply")  # fmt: skip
    shown = [name for name in facts if any(one[name] for one in found["recipients"])]
    typer.echo()
    show_table(found["recipients"], shown, as_json=False)
    if found["attempts"]:
        columns = ("started_at", "ended_at", "next_hop", "phase", "tls", "marked")
        typer.echo()
        show_table(found["attempts"], columns, as_json=False)


@app.command()
def explain(queue_id: QueueIdArgument, config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Say where a message is, which reply or rule decided that, and what to do."""
    found = call(config, lambda operator: operator.get(f"/messages/{part(queue_id)}/explain"))
    if json:
        show_json(found)
        return
    for line in _story(found):
        typer.echo(line)


def _story(found: dict[str, Any]) -> Iterator[str]:
    """The answer in lines: the whole, each recipient with its facts, then all that happened."""
    yield clean(found["summary"])
    for recipient, line in zip(found["recipients"], found["lines"], strict=True):
        yield f"  {clean(line)}"
        for fact in recipient["facts"]:
            text = f"  {clean(fact['text'])}" if fact["text"] else ""
            yield f"    {instant(fact['at'])}  {clean(fact['what'])}{text}"
    for event in found["events"]:
        data = {name: value for name, value in event["data"].items() if value not in ("", None)}
        facts = ", ".join(f"{name}: {value}" for name, value in data.items())
        yield f"{instant(event['at'])}  {clean(event['type'])}  {clean(facts)}".rstrip()


def _verb(verb: str, what: str) -> None:
    def move(
        queue_ids: QueueIds = None,
        mailbox: Mailbox = None,
        state: InState = None,
        config: ConfigFile = CONFIG,
        json: AsJson = False,
    ) -> int:
        return _move(verb, queue_ids or [], mailbox, state, config, as_json=json)

    move.__doc__ = what
    app.command(verb)(move)


_verb("retry", "Try again at once: what waits, is held, in doubt, failed or expired.")
_verb("cancel", "Give up what was not handed over.")
_verb("hold", "Stop what is queued until it is released.")
_verb("release", "Let what is held go on at once.")


def _move(
    verb: str,
    queue_ids: list[str],
    mailbox: str | None,
    state: str | None,
    config: Path,
    *,
    as_json: bool,
) -> int:
    """Do a verb on messages named by id, or on all that a filter finds."""
    if not queue_ids and mailbox is None and state is None:
        raise Refused(
            Code.VALIDATION_FAILED, "name messages by their queue ids, or by --mailbox and --state"
        )

    async def work(operator: Operator) -> list[dict[str, Any]]:
        names = queue_ids or await _found(operator, mailbox, state)
        return [await _one(operator, name, verb, is_alone=len(names) == 1) for name in names]

    results = call(config, work)
    if as_json:
        show_json({"items": results})
    else:
        for result in results:
            typer.echo(f"{clean(result['queue_id'])}  {result['moved']} recipient(s)")
            for line in result["left"]:
                note(f"  {line}")
    return 0


async def _found(operator: Operator, mailbox: str | None, state: str | None) -> list[str]:
    names: list[str] = []
    cursor: str | None = None
    while True:
        page = await operator.get(
            "/messages", mailbox=mailbox, state=state, cursor=cursor, limit=100
        )
        names.extend(item["queue_id"] for item in page["items"])
        cursor = page["next_cursor"]
        if cursor is None:
            return names


async def _one(operator: Operator, name: str, verb: str, *, is_alone: bool) -> dict[str, Any]:
    """One of several that cannot be moved does not stop the others."""
    try:
        return await operator.post(f"/messages/{part(name)}/{verb}")
    except Refused as refused:
        if is_alone:
            raise
        return {"queue_id": name, "moved": 0, "left": [refused.public]}


def _row(item: dict[str, Any]) -> dict[str, Any]:
    states: dict[str, int] = {}
    for recipient in item["recipients"]:
        states[recipient["state"]] = states.get(recipient["state"], 0) + 1
    return {
        **item,
        "recipients": len(item["recipients"]),
        "states": ", ".join(f"{count} {state}" for state, count in sorted(states.items())),
    }
