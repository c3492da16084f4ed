"""Run the daemon, look at one that runs, make it read its configuration again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewayd.cli.output import AsJson, ConfigFile, show_facts
from gatewayd.cli.start import CONFIG

Port = Annotated[int, typer.Option(min=0, max=65535, help="0 lets the system choose.")]


def serve(config: ConfigFile = CONFIG) -> int:
    """Run the daemon in the foreground, as systemd wants it."""
    from gatewayd.daemon.run import serve as run  # noqa: PLC0415 - a daemon's worth of imports

    return run(config)


def localserve(
    state_dir: Annotated[
        Path | None, typer.Option(help="Where to keep the database; one of your own by default.")
    ] = None,
    smtp_port: Port = 2587,
    smtps_port: Port = 2465,
    http_port: Port = 8025,
    bounce_port: Port = 0,
    json: AsJson = False,
) -> int:
    """Run everything on loopback with nothing to configure, and catch the mail."""
    from gatewayd.daemon.local import LocalOptions  # noqa: PLC0415 - a daemon's worth of imports
    from gatewayd.daemon.local import serve as run  # noqa: PLC0415 - as above

    return run(
        LocalOptions(
            state_dir=state_dir,
            smtp_port=smtp_port,
            smtps_port=smtps_port,
            http_port=http_port,
            bounce_port=bounce_port,
            json=json,
        )
    )


def status(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Show version, uptime, readiness, and how many recipients are in each state."""
    from gatewayd.cli.client import call  # noqa: PLC0415 - not for serve

    show_facts(call(config, lambda operator: operator.get("/status")), as_json=json)


def reload(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Make the running daemon read configuration, certificates and keys again."""
    from gatewayd.cli.client import call  # noqa: PLC0415 - not for serve

    show_facts(call(config, lambda operator: operator.post("/reload")), as_json=json)
