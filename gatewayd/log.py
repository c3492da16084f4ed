r"""structlog set-up, context fields, redaction of secrets and addresses.

An event is a snake_case word in the past tense with fields:

    _log = log.get_logger(__name__)
    with log.context(queue_id=queue_id):
        _log.info("recipient_refused", forward_path=log.address(text), code=refused.code)

What reaches standard error was cleaned on the way, whoever wrote it:

| in an event                                    | is written as                                  |
|------------------------------------------------|------------------------------------------------|
| value of password, token, authorization, ...   | [secret]                                       |
| a JWT, a PEM key, `Bearer ...`, long base64    | [secret]                                       |
| what looks like a mail address                 | a***@example.com#1f2e3d4c, or plain by config  |
| octets                                         | [512 octets]: they may be mail                 |
| control characters, line and bidi separators   | \x0a, \x1b, \u2028: no line can be forged      |
| a string over 4096 characters                  | its beginning                                  |

The caller only puts a record on a bounded queue; a thread cleans, renders and writes. If standard
error stalls, events are dropped and counted: the event loop never waits for a terminal.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import hashlib
import hmac
import logging
import math
import queue
import re
import secrets
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Protocol, TextIO

import structlog
from structlog.typing import EventDict, Processor

QUEUE_EVENTS: Final = 10_000
LONGEST_TEXT: Final = 4096
CLOSE_TIMEOUT_S: Final = 2.0
SECRET: Final = "[secret]"  # noqa: S105 - what stands in its place

_SECRET_KEY = re.compile(
    r"(^|[_-])(passw(or)?d|passphrase|secrets?|token|jwt|authorization|cookie|credentials?"
    r"|private_key|api_key)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"eyJ[\w-]{5,}\.[\w-]+(\.[\w-]*)?"  # a JWT begins with {" in base64
    r"|(?i:(?<=bearer )[\w.~+/=-]+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*"
    r"|[\w+/=-]{120,}"
)
_ADDRESS = re.compile(
    r"([\w.!#$%&'*+/=?^`{|}~-]{1,64}|\"[^\"]{1,64}\")@(?=[\w\[])[\w.:\[\]-]{1,255}"
)
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FIRST_FIELDS: Final = ("timestamp", "level", "event", "logger")


class Settings(Protocol):
    """What of the log section is needed here; config lies above this module."""

    @property
    def level(self) -> str: ...

    @property
    def format(self) -> str: ...

    @property
    def addresses(self) -> str: ...


class _Redactor:
    """How addresses are written. The hash is keyed: a list of addresses cannot be tried on it."""

    def __init__(self, *, plain: bool, key: bytes) -> None:
        self._plain = plain
        self._key = key

    def address(self, text: str) -> str:
        local_part, at, domain = text.rpartition("@")
        if self._plain or not at or local_part.endswith("***"):
            return text
        mac = hmac.digest(self._key, text.lower().encode(errors="replace"), hashlib.sha256)
        return f"{local_part[:1]}***@{domain.lower()}#{mac[:4].hex()}"

    def text(self, text: str) -> str:
        cut = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."
        hidden = _SECRET_TEXT.sub(SECRET, cut)
        if not self._plain:
            hidden = _ADDRESS.sub(lambda match: self.address(match[0]), hidden)
        return _UNSAFE.sub(_escape, hidden)


class Logging:
    """What `setup` has set up: the thread that writes. `close` writes what is left."""

    def __init__(self, handler: logging.Handler, on_drop: Callable[[], object]) -> None:
        self.dropped = 0
        self._handler = handler
        self._on_drop = on_drop
        self._records: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE_EVENTS)
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def put(self, record: logging.LogRecord) -> None:
        """Leave a record to the thread, or drop it if too many wait."""
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self.drop()

    def drop(self) -> None:
        self.dropped += 1
        self._on_drop()

    def close(self) -> None:
        """Write what waits, for at most CLOSE_TIMEOUT_S. May be called twice."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        with contextlib.suppress(queue.Full):  # standard error is stuck: nothing more to be done
            self._records.put(None, timeout=CLOSE_TIMEOUT_S)
            self._thread.join(CLOSE_TIMEOUT_S)

    def _write(self) -> None:
        while (record := self._records.get()) is not None:
            self._handler.handle(record)


class _Put(logging.Handler):
    """Root's only handler: hands records over as they are."""

    def __init__(self, target: Logging) -> None:
        super().__init__()
        self.target = target

    def emit(self, record: logging.LogRecord) -> None:
        self.target.put(record)


class _Write(logging.StreamHandler[TextIO]):
    """Writes lines. One that cannot be written is dropped: there is nowhere to report it."""

    on_error: Callable[[], object] = staticmethod(lambda: None)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's name
        self.on_error()


def setup(
    settings: Settings,
    *,
    stream: TextIO | None = None,
    hash_key: bytes | None = None,
    on_drop: Callable[[], object] = lambda: None,
) -> Logging:
    """Send every log of this process to one stream. Again: the last call counts.

    Args:
        settings: the log section.
        stream: standard error if None.
        hash_key: makes the hash of an address the same over restarts; else it is the same until
            this process ends.
        on_drop: called for each event that was dropped, from any thread.
    """
    global _redactor  # noqa: PLW0603 - logging is one per process, by its nature
    key = hash_key or (_redactor and _redactor._key) or secrets.token_bytes(16)  # noqa: SLF001
    _redactor = _Redactor(plain=settings.addresses == "plain", key=key)
    target_stream = stream if stream is not None else sys.stderr
    writer = _Write(target_stream)
    writer.setFormatter(_formatter(settings.format, colors=target_stream.isatty()))
    running = Logging(writer, on_drop)
    writer.on_error = running.drop
    atexit.register(running.close)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    _install(_Put(running), level)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # setup may come again, on SIGHUP
    )
    return running


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a module: `get_logger(__name__)`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger


def context(**fields: object) -> contextlib.AbstractContextManager[None]:
    """Add fields to every event of this task, and of those it starts, until the block ends."""
    return structlog.contextvars.bound_contextvars(**fields)


def address(text: str) -> str:
    """A mail address as it may be logged. The only way an address gets into an event."""
    return _current().address(text)


_redactor: _Redactor | None = None


def _current() -> _Redactor:
    global _redactor  # noqa: PLW0603 - as in setup
    if _redactor is None:
        _redactor = _Redactor(plain=False, key=secrets.token_bytes(16))
    return _redactor


def _install(handler: _Put, level: int) -> None:
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Put)]:
        root.removeHandler(old)
        old.target.close()
    root.addHandler(handler)
    # Libraries talk about data on the lower levels, whatever level was asked of us.
    root.setLevel(logging.WARNING)
    logging.getLogger("gatewayd").setLevel(level)
    smtp = logging.getLogger("mail.log")  # aiosmtpd's: every command and address at INFO
    smtp.setLevel(logging.WARNING)
    if _without_data not in smtp.filters:
        smtp.addFilter(_without_data)


def _without_data(record: logging.LogRecord) -> bool:
    """Keep where aiosmtpd warned from, and nothing of what a client sent."""
    kind = record.exc_info[0] if record.exc_info else None
    what = f" {kind.__name__}" if kind else ""
    record.msg = f"aiosmtpd_warned in {record.funcName} line {record.lineno}{what}"
    record.args, record.exc_info, record.exc_text = (), None, None
    return True


def _formatter(form: str, *, colors: bool) -> logging.Formatter:
    renderer: Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _time_of_record,
            structlog.processors.format_exc_info,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _clean,
            renderer,
        ],
    )


def _time_of_record(_: object, __: str, event: EventDict) -> EventDict:
    created = event["_record"].created
    event["timestamp"] = f"{dt.datetime.fromtimestamp(created, dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    return event


def _clean(_: object, __: str, event: EventDict) -> EventDict:
    """Make an event safe to show, whatever is in it."""
    redactor = _current()
    exception = event.pop("exception", None)
    ordered = {key: event[key] for key in _FIRST_FIELDS if key in event}
    ordered.update(event)
    cleaned = _mapping(redactor, ordered, depth=0)
    if exception is not None:
        # Indented: no line of a foreign message can pass for one of ours.
        lines = (redactor.text(line) for line in str(exception).splitlines())
        cleaned["exception"] = "\n".join(f"  {line}" for line in lines)
    return cleaned


def _mapping(
    redactor: _Redactor, fields: MutableMapping[Any, Any], *, depth: int
) -> dict[str, object]:
    return {
        redactor.text(str(key)): SECRET
        if _SECRET_KEY.search(str(key)) and value is not None
        else _value(redactor, value, depth=depth + 1)
        for key, value in fields.items()
    }


def _value(redactor: _Redactor, value: object, *, depth: int) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no such number
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} octets]"
    if depth < 5 and isinstance(value, dict):
        return _mapping(redactor, value, depth=depth)
    if depth < 5 and isinstance(value, list | tuple | set | frozenset):
        return [_value(redactor, each, depth=depth + 1) for each in value]
    return redactor.text(str(value))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
