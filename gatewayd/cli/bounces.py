"""gatewayd bounces: ingest, poll-once. Reports that came by another way than to our listener.

| exit | when                                                                            |
|------|---------------------------------------------------------------------------------|
| 0    | every message that could be read was judged, whatever it is                     |
| 65   | none of the files could be read; a message of the folder was refused, and stays |
| 69   | a path is not there; the IMAP server cannot be reached, or refuses              |
| 75   | of a report the outcome is not known yet, or the store is busy: run it again    |
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gatewayd.cli.client import Operator, call
from gatewayd.cli.output import AsJson, ConfigFile, clean, note, show_facts, show_json
from gatewayd.cli.start import CONFIG
from gatewayd.errors import Code, Refused

if TYPE_CHECKING:
    from gatewayd.bounces.ingest import RawFile

EX_DATAERR: Final = 65
EX_TEMPFAIL: Final = 75
TOO_EARLY: Final = "too_early"  # what we say where the API refuses with report_too_early
_REPORT_OCTETS: Final = 2_097_152  # the default of bounces.parse_octets: --dry-run asks no file

app = typer.Typer(help="Reports that came by another way.", no_args_is_help=True)


class Tls(enum.StrEnum):
    """How the session is protected."""

    IMPLICIT = "implicit"
    NONE_ON_LOOPBACK = "none-on-loopback"


@app.command()
def ingest(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Raw messages, mbox files, directories, Maildirs."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what each file says; change nothing.")
    ] = False,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> int:
    """Take in raw reports; the same one again changes nothing."""
    absent = next((each for each in paths if not each.exists()), None)
    if absent is not None:
        raise Refused(Code.NOT_FOUND, f"{absent}: no such file or directory")
    shown = _Shown(as_json=json)
    if dry_run:
        for one in _files(paths, _REPORT_OCTETS, shown):
            shown.add(_reading(one))
    else:
        most_octets = _most_octets(config)

        async def take(operator: Operator) -> None:
            for one in _files(paths, most_octets, shown):
                shown.add({**_reading(one), "result": await _take(operator, one)})

        call(config, take)
    return shown.end()


@app.command("poll-once")
def poll_once(
    host: Annotated[str, typer.Option(help="The IMAP server.")],
    user: Annotated[str, typer.Option(help="User for the login.")],
    password_file: Annotated[
        Path, typer.Option(help="File of mode 0600 with the password; or credential:NAME.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 993,
    tls: Annotated[Tls, typer.Option(help="implicit or none-on-loopback.")] = Tls.IMPLICIT,
    ca_file: Annotated[Path | None, typer.Option(help="PEM file of authorities to trust.")] = None,
    folder: Annotated[str, typer.Option(help="Where the reports come in.")] = "INBOX",
    processed: Annotated[
        str | None, typer.Option(help="Folder for what was taken; else it is deleted.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Messages of one run.")] = 1000,
    config: ConfigFile = CONFIG,
    json: AsJson = False,
) -> int:
    """Take in the reports of an IMAP folder; the rest goes to Rejected-Bounces."""
    try:
        from gatewayd.bounces import poll  # noqa: PLC0415 - an extra, imported only here
    except ImportError as error:
        raise Refused(
            Code.UNAVAILABLE,
            "this needs aioimaplib, which is licensed GPL-3.0-only: pip install 'gatewayd[imap]'",
        ) from error
    from gatewayd.config.load import secret  # noqa: PLC0415 - not for --help

    account = poll.Account(
        host=host,
        port=port,
        user=user,
        password=secret(password_file),
        folder=folder,
        processed=processed,
        is_plaintext=tls is Tls.NONE_ON_LOOPBACK,
        ca_file=ca_file,
        most_octets=_most_octets(config),
        most_messages=limit,
    )

    async def take(operator: Operator) -> poll.Polled:
        async def judge(one: RawFile) -> poll.Fate:
            result = await _take(operator, one)
            if result["kind"] == TOO_EARLY:
                return poll.Fate.LATER
            return poll.Fate.REJECTED if result["kind"] == "unrecognised" else poll.Fate.TAKEN

        return await poll.poll(account, judge)

    polled = call(config, take)
    counted = {"taken": polled.taken, "rejected": polled.rejected, "later": polled.later}
    for left in polled.refused:
        note(f"gatewayd: {left.name} was refused, and stays: {left.why}")
    if json:
        refused = [{"message": left.name, "why": left.why} for left in polled.refused]
        show_json({**counted, "refused": refused})
    else:
        show_facts({**counted, "refused": len(polled.refused)}, as_json=False)
    if polled.refused:
        return EX_DATAERR
    return EX_TEMPFAIL if polled.later else 0


class _Shown:
    """Messages as they are judged: at once for a person, one object at the end for a program."""

    def __init__(self, *, as_json: bool) -> None:
        self.is_early = False
        self._as_json = as_json
        self._count = 0
        self._items: list[dict[str, Any]] = []
        self._unreadable: list[dict[str, str]] = []

    def add(self, item: dict[str, Any]) -> None:
        self._count += 1
        result = item["result"]
        self.is_early |= result is not None and result["kind"] == TOO_EARLY
        if self._as_json:
            self._items.append(item)
            return
        for line in _lines(item):
            typer.echo(clean(line))

    def add_unreadable(self, path: Path, error: OSError) -> None:
        why = error.strerror or str(error)
        self._unreadable.append({"file": str(path), "why": why})
        note(f"gatewayd: {clean(str(path))}: {why}")

    def end(self) -> int:
        """The exit code."""
        if self._as_json:
            show_json({"items": self._items, "unreadable": self._unreadable})
        elif not (self._count or self._unreadable):
            note("nothing found")
        if self._unreadable and not self._count:
            return EX_DATAERR
        return EX_TEMPFAIL if self.is_early else 0


def _files(paths: Sequence[Path], most_octets: int, shown: _Shown) -> Iterator[RawFile]:
    from gatewayd.bounces.ingest import messages  # noqa: PLC0415 - not for --help

    for path in paths:
        yield from messages(path, most_octets=most_octets, on_unreadable=shown.add_unreadable)


def _most_octets(config: Path) -> int:
    from gatewayd.config.load import load  # noqa: PLC0415 - not for --help

    return load(config).bounces.parse_octets


async def _take(operator: Operator, one: RawFile) -> dict[str, Any]:
    try:
        return await operator.post_octets("/bounces", one.octets, name=clean(one.name))
    except Refused as refused:
        if refused.kind is not Code.REPORT_TOO_EARLY:
            raise
        return {"kind": TOO_EARLY, "why": refused.public, "changes": 0, "suppressed": 0}


def _reading(one: RawFile) -> dict[str, Any]:
    """What the reader says of a message, by itself: without knowing whether it is ours."""
    from gatewayd.reports.read import read  # noqa: PLC0415 - not for --help
    from gatewayd.reports.report import Action  # noqa: PLC0415 - as above
    from gatewayd.suppression.rules import suppresses  # noqa: PLC0415 - as above

    report = read(one.octets)
    return {
        "file": one.name,
        "kind": report.kind.value,
        "detector": report.detector,
        "feedback_type": report.feedback_type,
        "reporting_mta": report.reporting_mta,
        "recipients": [
            {
                "address": told.address,
                "original_address": told.original_address,
                "action": told.action.value,
                "class": told.verdict.klass.value,
                "reason": told.verdict.reason.value,
                "status": told.status,
                "code": told.code,
                "diagnostic": told.diagnostic,
                "remote_mta": told.remote_mta,
                "suppresses": told.action is Action.FAILED and suppresses(told.verdict),
            }
            for told in report.recipients
        ],
        "result": None,
    }


def _lines(item: dict[str, Any]) -> Iterator[str]:
    """One message for a person: what it is, whom it names, what it did."""
    kind = f"{item['kind']} ({item['feedback_type']})" if item["feedback_type"] else item["kind"]
    yield f"{item['file']}: {kind}"
    for told in item["recipients"]:
        words = [told["action"]]
        if told["action"] in ("failed", "delayed"):
            words += [told["class"], told["reason"]]
        words += [told["status"], "suppresses" if told["suppresses"] else ""]
        address = told["address"] or told["original_address"] or "somebody"
        yield f"  {address}: {' '.join(word for word in words if word)}"
        if told["diagnostic"]:
            yield f"    {told['diagnostic']}"
    result = item["result"]
    if result is not None:
        why = f": {result['why']}" if result["why"] else ""
        yield (
            f"  -> {result['kind']}{why}, {result['changes']} changed, "
            f"{result['suppressed']} suppressed"
        )
