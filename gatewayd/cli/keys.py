"""gatewayd keys: list, rotate."""

from __future__ import annotations

from typing import Annotated

import typer

from gatewayd.cli.client import call, part
from gatewayd.cli.output import CONFIG, AsJson, ConfigFile, show_facts, show_table

app = typer.Typer(help="The daemon's own keys.", no_args_is_help=True)


@app.command()
def rotate(
    purpose: Annotated[str, typer.Argument(help="fernet or jwt.")],
    phase: Annotated[str, typer.Argument(help="begin, then switch, then finish.")],
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Do one phase of a rotation; see docs/runbooks/key-rotation.md."""
    path = f"/keys/{part(purpose)}/{part(phase)}"
    show_facts(call(config, lambda operator: operator.post(path)), as_json=json)


@app.command("list")
def show_all(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """List keys with their states; the keys themselves are never shown."""
    found = call(config, lambda operator: operator.get("/keys"))
    columns = ("purpose", "key_id", "state", "created_at")
    show_table(found["items"], columns, as_json=json)
