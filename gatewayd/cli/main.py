"""The console script, and what each failure exits with.

| code | name           | when                                                                  |
|------|----------------|-----------------------------------------------------------------------|
| 0    | EX_OK          |                                                                       |
| 64   | EX_USAGE       | a word or option that does not exist                                  |
| 65   | EX_DATAERR     | a value that cannot be taken; a database of another schema, or damaged |
| 69   | EX_UNAVAILABLE | what was asked for is not there, or cannot be done now                |
| 73   | EX_CANTCREAT   | another gatewayd owns the state directory                             |
| 74   | EX_IOERR       | the disk failed                                                       |
| 75   | EX_TEMPFAIL    | try again                                                             |
| 77   | EX_NOPERM      | a secret is open to others; this user may not use a file or a socket  |
| 78   | EX_CONFIG      | the configuration is wrong                                            |

`tokens:issue` means `tokens issue`, and `-c FILE` may stand before the command or after it. Errors
go to standard error, in words; `--json` changes standard output only.
"""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import Final

from gatewayd.cli import start
from gatewayd.errors import GatewayError, Refused

EX_USAGE: Final = 64
EX_DATAERR: Final = 65
EX_UNAVAILABLE: Final = 69
EX_IOERR: Final = 74
EX_NOPERM: Final = 77

_MISSING: Final = frozenset({"not_found", "conflict", "no_route", "unavailable"})


def run() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a letter gets its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(words: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        return _run(_spelled(words))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0  # whoever read us has enough
    except Exception as error:  # noqa: BLE001 - what is not ours is raised again
        from gatewayd.cli.output import note  # noqa: PLC0415 - as in _run

        text, code = _failure(error)
        note(text if text.startswith("Usage:") else f"gatewayd: {text}")
        return code


def _run(words: list[str]) -> int:
    config_file = start.daemon_file(words)
    if config_file is None:
        from gatewayd.cli import commands  # noqa: PLC0415 - not for a daemon

        return commands.run(words)
    from gatewayd.daemon.run import serve  # noqa: PLC0415 - a daemon's worth of imports

    return serve(config_file)


def _failure(error: Exception) -> tuple[str, int]:
    """Words and exit code of an error; one that nobody expected is raised again."""
    if isinstance(error, GatewayError):
        return _words_of(error), exit_code_of(error)
    if isinstance(error, OSError):
        return _of_system(error)
    usage = getattr(error, "format_message", None)  # click's own errors
    if usage is None:
        raise error
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "gatewayd"
    text = usage()
    return (text if text.startswith("Usage:") else f"{text}\nsee `{command} --help`"), EX_USAGE


def exit_code_of(error: GatewayError) -> int:
    """What a failure exits with: the table of this module."""
    if isinstance(error, Refused):
        return EX_UNAVAILABLE if error.code in _MISSING else EX_DATAERR
    return int(getattr(error, "exit_code", EX_UNAVAILABLE))


def _spelled(words: list[str]) -> list[str]:
    """`tokens:issue` as `tokens issue`, wherever the command stands."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in ("-c", "--config") else 1  # an option, and its value
    if at < len(words) and ":" in words[at]:
        return [*words[:at], *words[at].split(":", 1), *words[at + 1 :]]
    return words


def _words_of(error: GatewayError) -> str:
    if isinstance(error, Refused):
        lines = [one.detail for one in error.faults if not one.detail.endswith(error.public)]
        return "\n  ".join([error.public, *lines])
    return str(error)


def _of_system(error: OSError) -> tuple[str, int]:
    what = f"{Path(error.filename)}: " if isinstance(error.filename, str) else ""
    text = f"{what}{error.strerror or error}"
    if error.errno == errno.EADDRINUSE:
        return f"{text}; another program listens there: choose another port", EX_UNAVAILABLE
    if error.errno in (errno.EACCES, errno.EPERM):
        return text, EX_NOPERM
    return text, EX_IOERR
