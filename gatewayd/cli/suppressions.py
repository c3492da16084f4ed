"""gatewayd suppressions: add, remove, list, test, import, export."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Annotated, Any, Final, TextIO

import typer

from gatewayd.cli.client import Operator, call
from gatewayd.cli.output import (
    AsJson,
    ConfigFile,
    clean,
    instant,
    note,
    show_facts,
    show_json,
    show_table,
)
from gatewayd.cli.start import CONFIG
from gatewayd.clock import SystemClock
from gatewayd.errors import Code, Refused
from gatewayd.suppression import transfer
from gatewayd.suppression.transfer import EVERY_MAILBOX, BadLine, Entry, Form

app = typer.Typer(help="Addresses that get no mail.", no_args_is_help=True)

STDIO: Final = "-"
PAGE: Final = 1000
BATCH: Final = 500  # entries in one transaction
BAD_SHOWN: Final = 50

Address = Annotated[str, typer.Argument(help="A recipient.")]
Mailbox = Annotated[str | None, typer.Option(help="Only for mail of this mailbox.")]
Every = Annotated[bool, typer.Option("--all", help="For mail of every mailbox.")]
OfMailbox = Annotated[str | None, typer.Option(help="Only those of this mailbox; `*` for all's.")]
Written = Annotated[
    Form | None, typer.Option("--format", help="Of the file; by its name if not said.")
]


def _whose(mailbox: str | None, *, every: bool) -> str | None:
    """The mailbox that is meant, None for every one; it must be said which."""
    if every == (mailbox is not None):
        raise typer.BadParameter("say whose mail: --mailbox ADDRESS, or --all for every mailbox")
    return mailbox


def _future(text: str) -> dt.datetime:
    """A day or an instant to come; UTC where no offset is named."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("--expires is a day or an instant, 2026-12-31T08:00Z") from error
    aware = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    if aware <= SystemClock().now():
        raise typer.BadParameter(f"--expires: {aware.isoformat()} is over")
    return aware


@app.command()
def add(
    address: Address,
    mailbox: Mailbox = None,
    every: Every = False,
    reason: Annotated[str, typer.Option(help="For you, in lists.")] = "operator",
    expires: Annotated[
        str | None, typer.Option(help="When it ends, such as 2026-12-31T08:00Z; never if not said.")
    ] = None,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Write to this address no more."""
    body = {
        "address": address,
        "mailbox": _whose(mailbox, every=every),
        "reason": reason,
        "expires_at": _future(expires).isoformat() if expires else None,
    }
    show_facts(call(config, lambda operator: operator.post("/suppressions", body)), as_json=json)


@app.command()
def remove(
    address: Address,
    mailbox: Mailbox = None,
    every: Every = False,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Let mail go to this address again."""
    whose = _whose(mailbox, every=every)
    done = call(
        config, lambda operator: operator.delete("/suppressions", address=address, mailbox=whose)
    )
    show_facts(done, as_json=json)


@app.command("test")
def explain(
    address: Address, mailbox: OfMailbox = None, config: ConfigFile = CONFIG, json: AsJson = False
) -> None:
    """Say whose mail to this address is refused, since when, why, and until when."""
    found = call(
        config,
        lambda operator: operator.get("/suppressions/test", address=address, mailbox=mailbox),
    )
    if json:
        show_json(found)
        return
    for entry in found["entries"]:
        whose = "any mailbox" if entry["mailbox"] == EVERY_MAILBOX else entry["mailbox"]
        until = f"until {instant(entry['expires_at'])}" if entry["expires_at"] else "for ever"
        typer.echo(
            clean(
                f"{address} gets no mail of {whose}: {entry['reason']}, known by "
                f"{entry['source']}, since {instant(entry['first_seen_at'])}, {until}"
            )
        )
    if not found["entries"]:
        whose = "any mailbox" if mailbox in (None, EVERY_MAILBOX) else str(mailbox)
        typer.echo(clean(f"{address} is not suppressed for mail of {whose}"))


@app.command("list")
def show_all(
    mailbox: OfMailbox = None,
    cursor: Annotated[str | None, typer.Option(help="Of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """List suppressions by address, expired ones included."""
    found = call(
        config,
        lambda operator: operator.get("/suppressions", mailbox=mailbox, cursor=cursor, limit=limit),
    )
    columns = ("address", "mailbox", "reason", "source", "last_seen_at", "expires_at")
    show_table(found["items"], columns, as_json=json, more=found["next_cursor"])


# Export.


@app.command("export")
def write_all(
    to: Annotated[str, typer.Argument(help="A file that is not there yet; - for a pipe.")] = STDIO,
    mailbox: OfMailbox = None,
    form: Written = None,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Write suppressions to a file, page by page: CSV for spreadsheets, or JSON lines."""
    chosen = form or _form_of(to)
    with _writing(to) as out:
        count = call(config, lambda operator: _write(operator, out, chosen, mailbox))
    if json and to != STDIO:
        show_json({"file": to, "format": chosen.value, "exported": count})
    else:
        note(f"{count} exported")


async def _write(operator: Operator, out: TextIO, form: Form, mailbox: str | None) -> int:
    out.write(transfer.header(form))
    count = 0
    cursor: str | None = None
    while True:
        page = await operator.get("/suppressions", mailbox=mailbox, cursor=cursor, limit=PAGE)
        for item in page["items"]:
            if item["mailbox"]:  # else its mailbox was destroyed, and nobody can miss it
                out.write(transfer.write(item, form))
                count += 1
        cursor = page["next_cursor"]
        if cursor is None:
            return count


@contextlib.contextmanager
def _writing(to: str) -> Iterator[TextIO]:
    """A new file for its owner only, or standard output."""
    if to == STDIO:
        yield sys.stdout
        return
    handle = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
        yield out


# Import.


@app.command("import")
def read_all(
    file: Annotated[str, typer.Argument(help="CSV or JSON lines; - for standard input.")],
    mailbox: Mailbox = None,
    every: Every = False,
    form: Written = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Import the good lines though others are bad.")
    ] = False,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> None:
    """Put the addresses of a file on the list: all of them or, if a line is bad, none."""
    named = None  # each line says it for itself
    if every or mailbox is not None:
        named = _whose(mailbox, every=every) or EVERY_MAILBOX
    chosen = form or _form_of(file)
    with _reading(file) as lines:

        async def work(operator: Operator) -> dict[str, Any]:
            known = await _known(operator)
            bad = [one for one in _judged(lines, chosen, named, known) if isinstance(one, BadLine)]
            if bad and not skip_bad:
                raise _refused(bad)
            for one in bad[:BAD_SHOWN]:
                note(f"line {one.line} {one.why}: passed over")
            lines.seek(0)
            good = (e for e in _judged(lines, chosen, named, known) if isinstance(e, Entry))
            return {**await _take(operator, good, named), "bad": len(bad)}

        done = call(config, work)
    show_facts({"file": file, **done}, as_json=json)


async def _known(operator: Operator) -> frozenset[str]:
    """What a line may name as its mailbox."""
    rows = await operator.get("/mailboxes")
    return frozenset({EVERY_MAILBOX, *(row["address"].lower() for row in rows["items"])})


def _judged(
    lines: Iterable[str], form: Form, named: str | None, known: frozenset[str]
) -> Iterator[Entry | BadLine]:
    """The lines of a file, those bad too that belong to no mailbox that is there."""
    for one in transfer.read(lines, form):
        if isinstance(one, BadLine) or named is not None:
            yield one
        elif not one.mailbox:
            yield BadLine(line=one.line, why="names no mailbox: say --mailbox ADDRESS or --all")
        elif one.mailbox.lower() not in known:
            yield BadLine(line=one.line, why=f"names {one.mailbox}, and there is no such mailbox")
        else:
            yield one


def _refused(bad: Sequence[BadLine]) -> Refused:
    shown = [f"line {one.line} {one.why}" for one in bad[:BAD_SHOWN]]
    more = len(bad) - len(shown)
    tail = [f"and {more} more"] if more else []
    return Refused(
        Code.VALIDATION_FAILED,
        "\n  ".join(
            [f"nothing was imported; {len(bad)} bad line(s), see --skip-bad", *shown, *tail]
        ),
    )


async def _take(operator: Operator, entries: Iterable[Entry], named: str | None) -> dict[str, int]:
    """Send entries in batches; how many are new, and how many were there."""
    counted = {"added": 0, "changed": 0}
    batch: list[dict[str, object]] = []

    async def send() -> None:
        if batch:
            done = await operator.post("/suppressions/import", {"entries": list(batch)})
            for name in counted:
                counted[name] += done[name]
            batch.clear()

    for entry in entries:
        batch.append(_body(entry, named))
        if len(batch) == BATCH:
            await send()
    await send()
    return counted


def _body(entry: Entry, named: str | None) -> dict[str, object]:
    instants = {
        name: at.isoformat()
        for name in ("first_seen_at", "last_seen_at", "expires_at")
        if (at := getattr(entry, name)) is not None
    }
    return {
        "address": entry.address,
        "mailbox": named or entry.mailbox,
        "reason": entry.reason,
        "source": entry.source,
        **instants,
    }


@contextlib.contextmanager
def _reading(file: str) -> Iterator[TextIO]:
    """The lines of a file, to be read twice; what a pipe gives is kept for that.

    Octets that are no UTF-8 become lone surrogates, so that the line they stand in can be named.
    """
    with contextlib.ExitStack() as stack:
        octets: IO[bytes]
        if file == STDIO:
            octets = stack.enter_context(tempfile.TemporaryFile())
            while block := sys.stdin.buffer.read(io.DEFAULT_BUFFER_SIZE):
                octets.write(block)
            octets.seek(0)
        else:
            octets = stack.enter_context(Path(file).open("rb"))
        yield stack.enter_context(
            io.TextIOWrapper(octets, encoding="utf-8", errors="surrogateescape", newline="")
        )


def _form_of(file: str) -> Form:
    is_json = file.lower().endswith((".jsonl", ".ndjson", ".json"))
    return Form.JSON_LINES if is_json else Form.CSV
