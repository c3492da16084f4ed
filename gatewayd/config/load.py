"""TOML file to Config, or every mistake in it. The only room that reads the environment.

| variable               | read for                                                   |
|------------------------|------------------------------------------------------------|
| CREDENTIALS_DIRECTORY  | files that systemd hands over, `credential:NAME` in a key  |

What is wrong is one ConfigError with all mistakes, each with key, value and what was expected:
exit 78. Loading opens no file but the one: `check_files` looks at those it names.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from gatewayd.config.check import RULES, check
from gatewayd.config.delivery import NextHop, SmarthostSection
from gatewayd.config.problems import Shown, from_validation
from gatewayd.config.secret import check_secret, locate, read_secret
from gatewayd.config.tree import Config
from gatewayd.errors import ConfigError, ConfigProblem, KeyFileError

DEFAULT_FILE: Final = Path("/etc/gatewayd/gatewayd.toml")
LARGEST_FILE_OCTETS: Final = 1_048_576
_FORMS: Final = {  # what tomllib says, and what it wanted
    "invalid value": 'a value: text in "quotes", a number, true, false, or a [list]',
    "illegal character '\\n'": 'text that ends with " on its line',
    "unterminated string": 'text that ends with "',
    "overwrite": "each key once: this one was set before",
    "declare": "each table once: this one was opened before",
    "after a key": "= between a key and its value",
}
_POSITION = re.compile(r" ?\(at (line \d+, column \d+|end of document)\)$")


def load(file: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration.

    Raises:
        ConfigError: the file is missing or wrong; it holds every mistake.
    """
    return parse(_read(file), file=file, environment=environment)


def parse(
    text: str, *, file: Path | str = "(text)", environment: Mapping[str, str] = os.environ
) -> Config:
    """As load, for a text that was read already; `file` names it in errors."""
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, [[[[[...
        raise ConfigError(file, [_syntax(text, str(error))]) from None
    tree.setdefault("daemon", {})
    context = {"credentials": credentials_directory(environment)}
    try:
        config = Config.model_validate(tree, context=context)
    except ValidationError as error:
        problems = from_validation(error) + _check_the_rest(tree, error)
        raise ConfigError(file, problems) from None
    if problems := check(config):
        raise ConfigError(file, problems)
    return config


def credentials_directory(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where systemd has put the files of LoadCredential=, if it runs us."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    return Path(directory) if directory else None


def secret(reference: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The text of a file that a key such as `password_file` names.

    Raises:
        KeyFileError: missing, open to others, or malformed.
    """
    return read_secret(reference, credentials_directory(environment))


def next_hop(
    section: SmarthostSection | None, environment: Mapping[str, str] = os.environ
) -> NextHop | None:
    """The configured smarthost with its password.

    Raises:
        KeyFileError: from its password_file.
    """
    if section is None:
        return None
    password_file = section.password_file
    return NextHop(
        host=section.host,
        port=section.port,
        tls_mode=section.tls_mode,
        user=section.user,
        password=None if password_file is None else secret(password_file, environment),
        ca_file=section.ca_file,
    )


def check_files(config: Config, environment: Mapping[str, str] = os.environ) -> None:
    """Look at every file the configuration names; what is in them is for the rooms that use them.

    Raises:
        KeyFileError: one or more cannot be used; the text names each.
    """
    credentials = credentials_directory(environment)
    errors: list[tuple[str, KeyFileError]] = []
    for key, path, is_secret in _files(config):
        try:
            if is_secret:
                check_secret(path, credentials)
            elif not os.access(locate(path, credentials), os.R_OK):
                errors.append((key, KeyFileError(f"{path}: no such file, or not readable by us")))
        except KeyFileError as error:
            errors.append((key, error))
    if errors:
        text = "\n".join(f"{key}: {error}" for key, error in errors)
        raise KeyFileError(text, exit_code=min(error.exit_code for _, error in errors))


def _files(config: Config) -> Iterator[tuple[str, Path, bool]]:
    """Key, path, and whether it holds a secret."""
    smarthost = config.delivery.smarthost
    for key, path, is_secret in (
        ("tls.certificate", config.tls.certificate, False),
        ("tls.private_key", config.tls.private_key, True),
        ("database.password_file", config.database.password_file, True),
        ("delivery.smarthost.password_file", smarthost.password_file if smarthost else None, True),
        ("delivery.smarthost.ca_file", smarthost.ca_file if smarthost else None, False),
    ):
        if path is not None:
            yield key, path, is_secret


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            octets = stream.read(LARGEST_FILE_OCTETS + 1)
        if len(octets) > LARGEST_FILE_OCTETS:
            raise ConfigError(file, [_file_problem(file, "a file of at most 1 MiB")])
        return octets.decode("utf-8-sig")
    except FileNotFoundError:
        default = "the default file, as -c names no other" if file == DEFAULT_FILE else "a file"
        hint = f"{default}: copy conf/minimal.toml there and set its keys, or name another by -c"
    except PermissionError:
        hint = "a file this user can read: chgrp gatewayd and chmod 640"
    except UnicodeDecodeError as error:
        hint = f"UTF-8 text: octet {error.start} is not"
    except OSError as error:
        hint = f"a file that can be read: {error.strerror}"
    raise ConfigError(file, [_file_problem(file, hint)])


def _file_problem(file: Path, expected: str) -> ConfigProblem:
    return ConfigProblem(key="file", value=str(file), expected=expected)


def _syntax(text: str, message: str) -> ConfigProblem:
    """What tomllib says, with the position in front, as an editor wants it."""
    found = _POSITION.search(message)
    where = found.group(1) if found else "end of document"
    if where == "end of document":
        lines = text.splitlines() or [""]
        where = f"line {len(lines)}, column {len(lines[-1]) + 1}"
    what = _POSITION.sub("", message)
    for word, form in _FORMS.items():
        if word in what.lower():
            return ConfigProblem(key=where, value=Shown("(not TOML)"), expected=form)
    form = f"lines of the form key = value ({what})"
    return ConfigProblem(key=where, value=Shown("(not TOML)"), expected=form)


def _check_the_rest(tree: dict[str, Any], error: ValidationError) -> list[ConfigProblem]:
    """Run the rules across sections on the sections that are right in themselves."""
    broken = {str(detail["loc"][0]) for detail in error.errors()}
    sound = {name: value for name, value in tree.items() if name not in broken}
    sound.setdefault("daemon", {"hostname": "localhost"})
    config = Config.model_validate(sound, context={"credentials": None})
    return check(config, [rule for rule in RULES if broken.isdisjoint(rule.sections)])
