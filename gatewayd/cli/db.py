"""gatewayd db: init, migrate, current, history, backup, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewayd.cli.output import AsJson, ConfigFile, show_facts, show_table
from gatewayd.cli.start import CONFIG

if TYPE_CHECKING:
    from gatewayd.daemon.tools import DatabaseTools

app = typer.Typer(help="Make, migrate, copy and verify the database.", no_args_is_help=True)


def _tools(config: Path) -> DatabaseTools:
    from gatewayd.config.load import load  # noqa: PLC0415 - not for --help
    from gatewayd.daemon.tools import database_tools  # noqa: PLC0415 - Alembic, for this room only

    return database_tools(load(config))


@app.command()
def init(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Make the tables and, with a new database, the key files. The daemon must be stopped."""
    tools = _tools(config)
    done = tools.init()
    result = "made" if done else "there already, nothing was done"
    show_facts({"tables": result, "revisions_run": done, "schema": tools.head()}, as_json=json)


@app.command()
def migrate(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Bring the database to the schema of this version. Back it up first; stop the daemon."""
    tools = _tools(config)
    done = tools.migrate()
    result = "migrated" if done else "of this version already, nothing was done"
    show_facts({"tables": result, "revisions_run": done, "schema": tools.head()}, as_json=json)


@app.command()
def current(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Show the schema of the database, and the one this version needs."""
    tools = _tools(config)
    show_facts({"current": tools.current(), "needed": tools.head()}, as_json=json)


@app.command()
def history(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """List the revisions of the schema."""
    rows = [{"revision": name, "what": what} for name, what in _tools(config).history()]
    show_table(rows, ("revision", "what"), as_json=json)


@app.command()
def backup(
    to: Annotated[Path, typer.Argument(help="A new file.")],
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Copy the SQLite database while the daemon runs, and verify the copy."""
    show_facts(_tools(config).backup(to), as_json=json)


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="A copy; else the database in use.")] = None,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Read every page of a database; exit 65 when it is damaged."""
    show_facts(_tools(config).verify(file), as_json=json)
