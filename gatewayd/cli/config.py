"""gatewayd config: check, show.

| exit of `check` | when                                                              |
|-----------------|-------------------------------------------------------------------|
| 0               | nothing is wrong; what is seldom meant is warned of, all the same |
| 77              | a file that it names is open to others                            |
| 78              | something is wrong                                                |
"""

from __future__ import annotations

import typer

from gatewayd.cli.output import AsJson, ConfigFile, clean, note, show_facts, show_json
from gatewayd.cli.start import CONFIG

app = typer.Typer(help="Check and show the configuration.", no_args_is_help=True)


@app.command()
def check(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Say every mistake in the configuration and the files it names; exit 78 or 77."""
    from gatewayd.config import load  # noqa: PLC0415 - not for --help
    from gatewayd.config.advice import advise  # noqa: PLC0415 - as above

    tree = load.load(config)
    load.check_files(tree)
    warnings = [str(problem) for problem in advise(tree)]
    facts = {"file": str(config), "result": "ok"}
    if json:
        show_json({**facts, "warnings": warnings})
        return
    show_facts(facts, as_json=False)
    for warning in warnings:
        note(f"warning: {warning}")


@app.command()
def show(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Print the whole configuration with every default filled in; it holds no secret."""
    from gatewayd.config import load, render  # noqa: PLC0415 - not for --help

    tree = load.load(config)
    if json:
        show_json(tree.model_dump(mode="json"))
    else:
        typer.echo(clean(render.render(tree), keep_lines=True), nl=False)
