"""Every public name, one a line: `python -m tests.contracts.public_names` prints them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from gatewayd.cli.commands import app as cli
from gatewayd.config.reference import keys
from gatewayd.errors import Code
from gatewayd.events.types import EventType
from gatewayd.metrics import Metrics
from gatewayd.queue.states import State
from gatewayd.tokens.claims import Scope
from gatewayd.web.api import models, views
from gatewayd.web.api.suppressions import NewSuppression
from gatewayd.web.problems import HttpFault

SENT = (models.SendMessage, models.SendBatch, NewSuppression)
ANSWERED = (
    views.Sent, views.Batch, views.MessageView, views.MessagePage, views.Problem,
    views.Attempts, views.EventPage, views.Explanation,
    views.SuppressionPage, views.SuppressionTest,
)  # fmt: skip


def names() -> list[str]:
    """Kind and name, sorted."""
    found = {f"error {code.word}" for code in (*Code, *HttpFault)}
    found |= {f"event {kind.value}" for kind in EventType}
    found |= {f"state {state.value}" for state in State}
    found |= {f"scope {scope.value}" for scope in Scope}
    found |= {f"key {key}" for key in keys()}
    found |= {f"metric {name}" for name in _metrics()}
    found |= {f"command {name}" for name in commands()}
    found |= {f"field {name}" for name in _fields()}
    return sorted(found)


def commands() -> Iterator[str]:
    """Every command of the CLI and every option of it."""
    yield from _commands(typer.main.get_command(cli), ())


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[str]:  # noqa: ANN401 - click's classes are typer's own
    subcommands: Mapping[str, Any] = getattr(command, "commands", {})
    for name, inner in subcommands.items():
        yield from _commands(inner, (*path, name))
    if path and not subcommands:
        yield " ".join(path)
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                yield " ".join((*path, option))


def _metrics() -> Iterator[str]:
    for family in Metrics().registry.collect():
        if not family.name.startswith("process_"):
            yield f"{family.name}_total" if family.type == "counter" else family.name


def _fields() -> Iterator[str]:
    """Properties of the JSON that clients send and get, by the name of their object."""
    for model in (*SENT, *ANSWERED):
        schema = model.model_json_schema()
        for name, one in {model.__name__: schema, **schema.get("$defs", {})}.items():
            yield from (f"{name}.{field}" for field in one.get("properties", {}))


if __name__ == "__main__":
    print(*names(), sep="\n")  # noqa: T201 - it is what the module is for
