"""gatewayd tokens: issue, revoke, list."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from gatewayd.cli.client import call, part
from gatewayd.cli.output import (
    AsJson,
    ConfigFile,
    note,
    show_facts,
    show_json,
    show_table,
)
from gatewayd.cli.start import CONFIG

app = typer.Typer(help="The passwords of agents.", no_args_is_help=True)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
COLUMNS = ("token_id", "mailbox", "name", "scopes", "hourly", "daily", "sandbox", "expires_at",
           "revoked_at")  # fmt: skip


def _seconds(text: str) -> int:
    """`90s`, `15m`, `12h`, `30d`, `52w`."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw]?)", text)
    if match is None:
        raise typer.BadParameter("a number with s, m, h, d or w, such as 30d")
    return int(match[1]) * _UNITS[match[2] or "s"]


@app.command()
def issue(
    mailbox: Annotated[str, typer.Argument(help="The mailbox that the token may send as.")],
    name: Annotated[str, typer.Option(help="For you, in lists.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="Repeat it; messages:send and messages:read if none.")
    ] = None,
    lifetime: Annotated[str | None, typer.Option(help="Such as 12h, 30d, 52w.")] = None,
    hourly: Annotated[int | None, typer.Option(min=0, help="Recipients an hour.")] = None,
    daily: Annotated[int | None, typer.Option(min=0, help="Recipients a day.")] = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="No quota.")] = False,
    allow_domain: Annotated[
        list[str] | None, typer.Option(help="A domain it may send to; repeat it. Any if none.")
    ] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Mail goes to the simulator, never off the machine.")
    ] = False,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Issue a token; it is printed once and stored nowhere."""
    body: dict[str, object] = {
        "mailbox": mailbox,
        "name": name,
        "lifetime_s": _seconds(lifetime) if lifetime else None,
        "hourly": hourly,
        "daily": daily,
        "unlimited": unlimited,
        "allowed_recipient_domains": allow_domain or [],
        "sandbox": sandbox,
    }
    if scope:
        body["scopes"] = scope
    issued = call(config, lambda operator: operator.post("/tokens", body))
    if json:
        show_json(issued)
        return
    typer.echo(issued["token"])
    note(f"token {issued['token_id']} of {issued['mailbox']}, until {issued['expires_at']}")


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="As in `tokens list`.")],
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """End a token within a second, on open sessions too."""
    path = f"/tokens/{part(token_id)}"
    show_facts(call(config, lambda operator: operator.delete(path)), as_json=json)


@app.command("list")
def show_all(
    mailbox: Annotated[str | None, typer.Option(help="Only those of this mailbox.")] = None,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """List tokens, the oldest first."""
    found = call(config, lambda operator: operator.get("/tokens", mailbox=mailbox))
    show_table(found["items"], COLUMNS, as_json=json)
