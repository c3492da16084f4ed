"""gatewayd keys: list, rotate."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from gatewayd.cli.client import call, part
from gatewayd.cli.output import AsJson, ConfigFile, show_facts, show_table
from gatewayd.cli.start import CONFIG


class Purpose(enum.StrEnum):
    """What keys are for."""

    FERNET = "fernet"
    JWT = "jwt"
    VERP = "verp"
    TRACKING = "tracking"


class Phase(enum.StrEnum):
    """Steps of a rotation, in their order."""

    BEGIN = "begin"
    SWITCH = "switch"
    FINISH = "finish"


app = typer.Typer(help="The daemon's own keys.", no_args_is_help=True)


@app.command()
def rotate(
    purpose: Annotated[Purpose, typer.Argument(help="Which keys.")],
    phase: Annotated[Phase, typer.Argument(help="One after the other.")],
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
