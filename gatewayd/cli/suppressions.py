"""gatewayd suppressions: add, remove, list, test."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from gatewayd.cli.client import call
from gatewayd.cli.output import CONFIG, AsJson, ConfigFile, show_facts, show_table
from gatewayd.clock import SystemClock

app = typer.Typer(help="Addresses that get no mail.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(help="A recipient.")]
Mailbox = Annotated[
    str | None, typer.Option(help="Only for mail of this mailbox; for all if none is named.")
]


def _future(text: str) -> dt.datetime:
    """A day or an instant to come; UTC where no offset is named."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("--expires is a day or an instant, 2026-12-31T08:00Z") from error
    aware = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    if aware <= SystemClock().now():
        raise typer.BadParameter(f"--expires: {aware.isoformat()} is over")
    return aware


@app.command()
def add(
    address: Address,
    mailbox: Mailbox = None,
    reason: Annotated[str, typer.Option(help="For you, in lists.")] = "operator",
    expires: Annotated[
        str | None, typer.Option(help="When it ends, such as 2026-12-31T08:00Z; never if not said.")
    ] = None,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Write to this address no more."""
    body = {
        "address": address,
        "mailbox": mailbox,
        "reason": reason,
        "expires_at": _future(expires).isoformat() if expires else None,
    }
    show_facts(call(config, lambda operator: operator.post("/suppressions", body)), as_json=json)


@app.command()
def remove(
    address: Address, mailbox: Mailbox = None, config: ConfigFile = CONFIG, json: AsJson = False
) -> None:
    """Let mail go to this address again."""
    done = call(
        config, lambda operator: operator.delete("/suppressions", address=address, mailbox=mailbox)
    )
    show_facts(done, as_json=json)


@app.command("test")
def explain(
    address: Address, mailbox: Mailbox = None, config: ConfigFile = CONFIG, json: AsJson = False
) -> None:
    """Say whether mail to this address is refused, and why."""
    found = call(
        config,
        lambda operator: operator.get("/suppressions/test", address=address, mailbox=mailbox),
    )
    show_facts(found, as_json=json)


@app.command("list")
def show_all(
    mailbox: Mailbox = None,
    cursor: Annotated[str | None, typer.Option(help="Of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """List suppressions by address, expired ones included."""
    found = call(
        config,
        lambda operator: operator.get("/suppressions", mailbox=mailbox, cursor=cursor, limit=limit),
    )
    columns = ("address", "scope", "reason", "source", "last_seen_at", "expires_at")
    show_table(found["items"], columns, as_json=json, more=found["next_cursor"])
