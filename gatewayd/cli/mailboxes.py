"""gatewayd mailboxes: create, update, destroy, validate, list."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewayd.cli.client import call, part
from gatewayd.cli.output import AsJson, ConfigFile, show_facts, show_table
from gatewayd.cli.start import CONFIG

app = typer.Typer(help="The addresses that may send.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(help="The mailbox, such as agent@example.com.")]
DisplayName = Annotated[
    str | None, typer.Option(help='Replaces the name in From; "" leaves the submitted one.')
]
Host = Annotated[str | None, typer.Option(help='Where its mail goes; "" for the smarthost.')]
PortNumber = Annotated[
    int | None, typer.Option(min=1, max=65535, help="By default the usual one of the mode.")
]
Mode = Annotated[str | None, typer.Option(help="implicit, starttls_required or none-on-loopback.")]
User = Annotated[str | None, typer.Option(help="User at the next hop.")]
PasswordFile = Annotated[
    Path | None, typer.Option(help="File of mode 0600 with the password; - asks or reads stdin.")
]
CaFile = Annotated[str | None, typer.Option(help="PEM file of authorities to trust.")]
Tracking = Annotated[str | None, typer.Option(help="all, clicks, opens or off.")]
TrackSmtp = Annotated[bool | None, typer.Option(help="Track what comes over SMTP, too.")]
Unsubscribe = Annotated[bool | None, typer.Option(help="Add a link to unsubscribe by.")]
OnInDoubt = Annotated[str | None, typer.Option(help="retry or hold.")]

COLUMNS = ("address", "display_name", "next_hop_host", "next_hop_port", "next_hop_tls_mode",
           "next_hop_user", "on_in_doubt")  # fmt: skip


def _settings(password_file: Path | None, **given: Any) -> dict[str, Any]:  # noqa: ANN401 - options of several types
    settings = {name: value for name, value in given.items() if value is not None}
    if password_file is not None:
        settings["next_hop_password"] = _password(password_file)
    return settings


def _password(file: Path) -> str:
    """Never an argument: those can be read by everybody on the machine."""
    if str(file) == "-":
        if sys.stdin.isatty():
            return str(typer.prompt("Password at the next hop", hide_input=True, err=True))
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise typer.BadParameter("standard input holds no password")
        return password
    from gatewayd.config.load import secret  # noqa: PLC0415 - not for --help

    return secret(file.absolute())


@app.command()
def create(
    address: Address,
    display_name: DisplayName = None,
    next_hop_host: Host = None,
    next_hop_port: PortNumber = None,
    next_hop_tls_mode: Mode = None,
    next_hop_user: User = None,
    next_hop_password_file: PasswordFile = None,
    next_hop_ca_file: CaFile = None,
    tracking: Tracking = None,
    track_smtp: TrackSmtp = None,
    unsubscribe: Unsubscribe = None,
    on_in_doubt: OnInDoubt = None,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Make a mailbox."""
    body = _settings(
        next_hop_password_file,
        display_name=display_name,
        next_hop_host=next_hop_host,
        next_hop_port=next_hop_port,
        next_hop_tls_mode=next_hop_tls_mode,
        next_hop_user=next_hop_user,
        next_hop_ca_file=next_hop_ca_file,
        tracking=tracking,
        track_smtp=track_smtp,
        unsubscribe=unsubscribe,
        on_in_doubt=on_in_doubt,
    )
    made = call(config, lambda operator: operator.post("/mailboxes", {"address": address, **body}))
    show_facts(made, as_json=json)


@app.command()
def update(
    address: Address,
    display_name: DisplayName = None,
    next_hop_host: Host = None,
    next_hop_port: PortNumber = None,
    next_hop_tls_mode: Mode = None,
    next_hop_user: User = None,
    next_hop_password_file: PasswordFile = None,
    next_hop_ca_file: CaFile = None,
    tracking: Tracking = None,
    track_smtp: TrackSmtp = None,
    unsubscribe: Unsubscribe = None,
    on_in_doubt: OnInDoubt = None,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Change settings; those that are not named stay."""
    body = _settings(
        next_hop_password_file,
        display_name=display_name,
        next_hop_host=next_hop_host,
        next_hop_port=next_hop_port,
        next_hop_tls_mode=next_hop_tls_mode,
        next_hop_user=next_hop_user,
        next_hop_ca_file=next_hop_ca_file,
        tracking=tracking,
        track_smtp=track_smtp,
        unsubscribe=unsubscribe,
        on_in_doubt=on_in_doubt,
    )
    path = f"/mailboxes/{part(address)}"
    show_facts(call(config, lambda operator: operator.patch(path, body)), as_json=json)


@app.command()
def destroy(address: Address, config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Remove a mailbox that owes nothing, and revoke its tokens."""
    path = f"/mailboxes/{part(address)}"
    show_facts(call(config, lambda operator: operator.delete(path)), as_json=json)


@app.command()
def validate(address: Address, config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Really connect to the next hop, start TLS and log in."""
    path = f"/mailboxes/{part(address)}/validate"
    show_facts(call(config, lambda operator: operator.post(path)), as_json=json)


@app.command("list")
def show_all(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """List every mailbox."""
    found = call(config, lambda operator: operator.get("/mailboxes"))
    show_table(found["items"], COLUMNS, as_json=json)
