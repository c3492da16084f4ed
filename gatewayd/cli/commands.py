"""The typer application: every command with its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import gatewayd
from gatewayd.cli import (
    bounces,
    config,
    db,
    domains,
    keys,
    mailboxes,
    messages,
    serve,
    suppressions,
    tokens,
)

app = typer.Typer(
    name="gatewayd",
    help="The mail door for AI agents and applications.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, room in (
    ("bounces", bounces),
    ("config", config),
    ("db", db),
    ("domains", domains),
    ("keys", keys),
    ("mailboxes", mailboxes),
    ("messages", messages),
    ("suppressions", suppressions),
    ("tokens", tokens),
):
    app.add_typer(room.app, name=name)
app.command("serve")(serve.serve)
app.command("localserve")(serve.localserve)
app.command("status")(serve.status)
app.command("reload")(serve.reload)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gatewayd {gatewayd.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="As after a command."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del config, version  # output._chosen reads the one, _version acts on the other


def run(words: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        result = app(words, standalone_mode=False, prog_name="gatewayd")
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        return 130
    return result if isinstance(result, int) else 0
