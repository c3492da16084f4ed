"""What is wrong with a file, in plain words: pydantic's errors as ConfigProblem.

An unknown key is answered with the nearest one that exists. A secret that was written into the
file is not shown again: not in this text, so not in a log or a terminal either.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from gatewayd.config.reference import keys
from gatewayd.config.render import literal
from gatewayd.errors import ConfigProblem

_SECRET_WORD = re.compile(
    r"(passw(or)?d|passphrase|secret|token|\b(\w+_)?key|credential|pem)(_file)?$"
)
_SECRET_TEXT = re.compile(r"-----BEGIN|eyJ[\w-]+\.|://[^/@\s]*:[^/@\s]*@")
_TOML_TYPES = (str, bool, int, float, list)
LONGEST_VALUE: Final = 80
_SECRET_FILES: Final = {"password": "password_file", "passwd": "password_file"}
_OTHER_NAMES: Final = {
    "port": "bind",
    "host": "bind",
    "address": "bind",
    "listen": "bind",
    "cert": "certificate",
    "username": "user",
}
_WORDS: Final = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false, without quotes",
    "string_type": "text in quotes",
    "string_too_short": "text that is not empty",
    "tuple_type": "a list in brackets",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:.15g}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "value_error": "{error}",
}


class Shown(str):
    """A value of a ConfigProblem as it is printed: no Python quotes around it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


MISSING: Final = Shown("(missing)")
SECRET: Final = Shown("(a secret, not shown)")


def from_validation(error: ValidationError) -> list[ConfigProblem]:
    """Every mistake that pydantic found, in the order of the tree."""
    return [_problem(detail) for detail in error.errors(include_url=False)]


def dotted(location: Sequence[str | int]) -> str:
    """`("submission", 0, "bind")` as the operator would say it: `submission[0].bind`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def shown(key: str, value: object) -> Shown:
    """The value as the file spells it: short, and no secret."""
    if isinstance(value, Shown):
        return value
    if isinstance(value, dict) or (
        isinstance(value, list) and value and isinstance(value[0], dict)
    ):
        return Shown("(a table)")
    text = literal(value) if isinstance(value, _TOML_TYPES) else str(value)
    # A path is what such a key should hold, so it may be shown.
    is_path = str(value).startswith(("/", "credential:"))
    is_secret = _SECRET_WORD.search(key.lower()) and not is_path
    if isinstance(value, str) and (is_secret or _SECRET_TEXT.search(value)):
        return SECRET
    return Shown(text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "...")


def _problem(detail: Any) -> ConfigProblem:  # noqa: ANN401 - pydantic's ErrorDetails is a TypedDict
    key = dotted(detail["loc"])
    kind = detail["type"]
    if kind == "missing":
        what = keys()[_plain(detail["loc"])].description.removesuffix(".")
        return ConfigProblem(
            key=key, value=MISSING, expected=f"a value: {what[:1].lower()}{what[1:]}"
        )
    expected = _nearest(detail["loc"]) if kind == "extra_forbidden" else _words(key, detail)
    return ConfigProblem(key=key, value=shown(key, detail["input"]), expected=expected)


def _words(key: str, detail: Any) -> str:  # noqa: ANN401 - as above
    if detail["type"] in ("model_type", "model_attributes_type"):
        return f"a table: [{key}] on a line of its own, its keys below it"
    if key == "submission" and detail["type"] == "tuple_type":
        return "[[submission]] on a line of its own, in double brackets, its keys below it"
    template = _WORDS.get(detail["type"])
    if template is None:
        return str(detail["msg"])
    return template.format(**detail.get("ctx", {})).replace("'", '"')


def _plain(location: Sequence[str | int]) -> str:
    return ".".join(part for part in location if isinstance(part, str))


def _nearest(location: Sequence[str | int]) -> str:
    """What to say of a key that does not exist."""
    name = str(location[-1])
    table = _plain(location[:-1])
    siblings = [key.rpartition(".")[2] for key in keys() if key.rpartition(".")[0] == table]
    if not table:
        siblings = sorted({key.partition(".")[0] for key in keys()})
    if (better := _SECRET_FILES.get(name.lower())) and better in siblings:
        return f"{better}: secrets are read from files, never written into this one"
    if (better := _OTHER_NAMES.get(name.lower())) and better in siblings:
        return f"{better}: there is no key of this name"
    if near := difflib.get_close_matches(name, siblings, n=1, cutoff=0.6):
        return f"{near[0]}: there is no key of this name"
    if _SECRET_WORD.search(name.lower()):
        return "no secret in this file: secrets are read from files of their own"
    elsewhere = [key for key in keys() if key.rpartition(".")[2] == name]
    if elsewhere:
        return f"{elsewhere[0]}: it does not belong here"
    return f"one of {', '.join(siblings)}: there is no key of this name"
