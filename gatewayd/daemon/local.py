"""gatewayd localserve: the whole daemon on loopback, with nothing to configure.

The real doors, queue and SMTP client, against the built-in receiving server. Its mail can be read
back over HTTP at `/caught`. Local-parts that end in `temperror`, `permerror`, a 4xx or 5xx code or
`timeout` make that server misbehave; `bounce` and `complaint` make it send a report back.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatewayd import failpoints, log
from gatewayd.clock import SystemClock
from gatewayd.config.check import check
from gatewayd.config.process import LogSection
from gatewayd.config.tree import Config
from gatewayd.daemon import build, certificate
from gatewayd.daemon.doors import Doors
from gatewayd.daemon.run import Daemon, run
from gatewayd.daemon.statedir import owned
from gatewayd.errors import ConfigError, Refused
from gatewayd.mailboxes.accounts import Change
from gatewayd.metrics import Metrics
from gatewayd.tokens.claims import Scope
from gatewayd.tokens.service import Request

HOST: Final = "127.0.0.1"
MAILBOX: Final = "agent@local.example"
BOUNCE_DOMAIN: Final = "bounces.local.example"
SHUTDOWN_S: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """What may be chosen. Port 0 lets the system choose.

    state_dir: None is one of the user's own.
    json: one line of JSON instead of lines to copy.
    """

    state_dir: Path | None = None
    smtp_port: int = 2587
    smtps_port: int = 2465
    http_port: int = 8025
    bounce_port: int = 0
    json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a client needs to know: the keys of the line of JSON."""

    smtp_url: str
    smtps_url: str
    http_url: str
    bounce_url: str
    mailbox: str
    token: str
    ca_file: str
    caught_url: str
    state_dir: str


def serve(options: LocalOptions) -> int:
    """Run on loopback until a signal; the exit code.

    Raises:
        StateDirLocked: another one runs in the same state directory.
        ConfigError: the name of the state directory is too long for a socket.
        OSError: a port is taken.
    """
    state_dir = (options.state_dir or _default_state_dir()).absolute()
    os.umask(0o077)
    failpoints.arm(os.environ.get("GATEWAYD_FAILPOINTS", ""))
    with owned(state_dir):
        clock = SystemClock()
        ca_file, cert, key = certificate.ensure(state_dir / "tls", now=clock.now())
        sockets = {"http": _listen(options.http_port), "bounces": _listen(options.bounce_port)}
        config = _config(options, state_dir, cert, key, sockets)
        metrics = Metrics()
        level = LogSection(level="warning", format="console", addresses="plain")
        logging = log.setup(level, on_drop=metrics.log_events_dropped.inc)
        build.initialise(config, clock)

        async def greet(doors: Doors, kernel: build.Kernel) -> None:
            greeting = await _greeting(doors, kernel, ca_file)
            print(_as_json(greeting) if options.json else _as_text(greeting), flush=True)  # noqa: T201 - it is what the command is for

        daemon = Daemon(
            config=config,
            config_file=None,
            sockets={name: (each,) for name, each in sockets.items()},
            metrics=metrics,
            is_local=True,
            on_ready=greet,
        )
        try:
            return run(daemon)
        finally:
            logging.close()


def _default_state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "gatewayd" / "localserve"


def _listen(port: int) -> socket.socket:
    """A port whose number has to be known before the daemon is built: links and returns name it."""
    return socket.create_server((HOST, port), backlog=128)


def _config(
    options: LocalOptions,
    state_dir: Path,
    cert: Path,
    key: Path,
    sockets: Mapping[str, socket.socket],
) -> Config:
    http, bounces = (f"{HOST}:{sockets[name].getsockname()[1]}" for name in ("http", "bounces"))
    config = Config.model_validate(
        {
            "daemon": {
                "hostname": "localhost.localdomain",
                "state_dir": str(state_dir),
                "run_dir": str(state_dir),
                "shutdown_s": SHUTDOWN_S,
            },
            "tls": {"certificate": str(cert), "private_key": str(key)},
            "submission": [
                {
                    "name": "submission",
                    "bind": f"127.0.0.1:{options.smtp_port}",
                    "tls": "starttls",
                    "auth_without_tls": True,
                },
                {
                    "name": "submissions",
                    "bind": f"127.0.0.1:{options.smtps_port}",
                    "tls": "implicit",
                },
            ],
            "http": {"bind": http, "public_url": f"http://{http}"},
            "bounces": {"domain": BOUNCE_DOMAIN, "bind": bounces, "postmaster": MAILBOX},
            "metrics": {"bind": ""},
            "storage": {"min_free_octets": 1},
        }
    )
    if problems := check(config):
        raise ConfigError("localserve", problems)
    return config


async def _greeting(doors: Doors, kernel: build.Kernel, ca_file: Path) -> Greeting:
    """Make the mailbox, its keys and a fresh token, and say where everything is."""
    await _once(kernel)
    for row, _ in await kernel.tokens.list(MAILBOX):
        if row.revoked_at is None and row.name == "localserve":
            await kernel.tokens.revoke(row.token_id)
    issued = await kernel.tokens.issue(
        Request(mailbox=MAILBOX, name="localserve", scopes=tuple(Scope), unlimited=True)
    )
    smtp, smtps, bounces = (listener.addresses[0] for listener in doors.listeners)
    (http,) = doors.http.addresses
    return Greeting(
        smtp_url=f"smtp://{smtp}",
        smtps_url=f"smtps://{smtps}",
        http_url=f"http://{http}",
        bounce_url=f"smtp://{bounces}",
        mailbox=MAILBOX,
        token=issued.token,
        ca_file=str(ca_file),
        caught_url=f"http://{http}/caught",
        state_dir=str(kernel.config.daemon.state_dir),
    )


async def _once(kernel: build.Kernel) -> None:
    """What a state directory gets when it is used for the first time."""
    try:
        await kernel.mailboxes.create(MAILBOX, Change(display_name="Local Agent"))
        await kernel.domains.add(MAILBOX.partition("@")[2])
    except Refused:
        return  # it was used before


def _as_json(greeting: Greeting) -> str:
    return json.dumps({name: getattr(greeting, name) for name in Greeting.__slots__})


def _as_text(greeting: Greeting) -> str:
    smtp = greeting.smtp_url.removeprefix("smtp://")
    host, _, port = smtp.rpartition(":")
    send = f"{greeting.http_url}/api/v1/messages/send"
    return f"""gatewayd is running on this machine only; press Ctrl-C to stop it.

  mailbox     {greeting.mailbox}
  token       {greeting.token}
  submission  {greeting.smtp_url} (STARTTLS), {greeting.smtps_url} (TLS)
  HTTP        {greeting.http_url}
  bounces     {greeting.bounce_url}
  mail sent   {greeting.caught_url}
  authority   {greeting.ca_file}
  state       {greeting.state_dir}

In another terminal, send by swaks:

  swaks --server {smtp} --tls --auth PLAIN --auth-user token \\
    --auth-password {greeting.token} \\
    --from {greeting.mailbox} --to ann@example.com --header 'Subject: by swaks'

by curl over HTTP:

  curl -sS {send} -H 'Content-Type: application/json' \\
    -H 'Authorization: Bearer {greeting.token}' \\
    -d '{{"to": "ann@example.com", "subject": "by curl", "text": "Hello"}}'

by Python's smtplib:

  python3 - <<'EOF'
  import smtplib, ssl
  with smtplib.SMTP("{host}", {port}) as client:
      client.starttls(context=ssl.create_default_context(cafile="{greeting.ca_file}"))
      client.login("token", "{greeting.token}")
      client.sendmail("{greeting.mailbox}", ["ann@example.com"],
                      "Subject: by smtplib\\r\\nTo: ann@example.com\\r\\n\\r\\nHello\\r\\n")
  EOF

and read what arrived:

  curl -sS {greeting.caught_url}
"""
