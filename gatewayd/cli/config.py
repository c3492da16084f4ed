"""gatewayd config: check, show."""

from __future__ import annotations

import typer

from gatewayd.cli.output import CONFIG, AsJson, ConfigFile, clean, show_facts, show_json

app = typer.Typer(help="Check and show the configuration.", no_args_is_help=True)


@app.command()
def check(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Say every mistake in the configuration and the files it names; exit 78 or 77."""
    from gatewayd.config import load  # noqa: PLC0415 - not for --help

    load.check_files(load.load(config))
    show_facts({"file": str(config), "result": "ok"}, as_json=json)


@app.command()
def show(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Print the whole configuration with every default filled in; it holds no secret."""
    from gatewayd.config import load, render  # noqa: PLC0415 - not for --help

    tree = load.load(config)
    if json:
        show_json(tree.model_dump(mode="json"))
    else:
        typer.echo(clean(render.render(tree), keep_lines=True), nl=False)
