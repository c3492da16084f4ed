"""gatewayd domains: add, dns, list, remove."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gatewayd.cli.client import call, part
from gatewayd.cli.output import AsJson, ConfigFile, clean, show_facts, show_json, show_table
from gatewayd.cli.start import CONFIG

app = typer.Typer(help="DKIM keys and the DNS records that publish them.", no_args_is_help=True)

Domain = Annotated[str, typer.Argument(help="Such as example.com.")]


def _show_records(found: dict[str, Any], *, as_json: bool) -> None:
    """Records as lines of a zone file: long values in strings of 255 octets (RFC 1035 3.3)."""
    if as_json:
        show_json(found)
        return
    for record in found["records"]:
        value = record["value"]
        strings = [value[at : at + 255] for at in range(0, len(value), 255)]
        typer.echo(f"; {clean(record['why'])}")
        quoted = " ".join(f'"{one}"' for one in strings)
        typer.echo(clean(f"{record['name']}. IN {record['type']} {quoted}"))


@app.command()
def add(domain: Domain, config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Make an RSA-2048 and an Ed25519 key, and print the DNS records to publish."""
    found = call(config, lambda operator: operator.post("/domains", {"domain": domain}))
    _show_records(found, as_json=json)


@app.command()
def dns(domain: Domain, config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Print the DNS records of a domain again."""
    path = f"/domains/{part(domain)}"
    _show_records(call(config, lambda operator: operator.get(path)), as_json=json)


@app.command()
def remove(domain: Domain, config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """Destroy the keys of a domain: its mail goes out unsigned from then on."""
    path = f"/domains/{part(domain)}"
    show_facts(call(config, lambda operator: operator.delete(path)), as_json=json)


@app.command("list")
def show_all(config: ConfigFile = CONFIG, json: AsJson = False) -> None:
    """List the signing keys."""
    found = call(config, lambda operator: operator.get("/domains"))
    columns = ("domain", "selector", "algorithm", "created_at")
    show_table(found["items"], columns, as_json=json)
