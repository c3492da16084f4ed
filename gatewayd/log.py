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

The caller only puts a record on a bounded queue; a thread cleans, renders and writes, what waits in
one go. If standard error stalls, events are dropped and counted: the event loop never waits for a
terminal.

Events of ours go to the thread without `logging` and without structlog's processors, which cost
more than the rest of a line. structlog renders them, takes those of libraries, and those of a
process that has not set this up: so `structlog.testing.capture_logs` sees everything.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import functools
import hmac
import json
import logging
import math
import queue
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final, Protocol, TextIO

# structlog shows tracebacks by rich wherever it is installed, as it is with typer: 4 MiB for what
# nothing here asks for. A module that is None cannot be imported.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]  # as importlib documents it
import structlog  # noqa: E402 - while there is no rich
from structlog.typing import EventDict, Processor  # noqa: E402 - as above

del sys.modules["rich"]
if _rich is not None:
    sys.modules["rich"] = _rich

QUEUE_EVENTS: Final = 10_000
LONGEST_TEXT: Final = 4096
CLOSE_TIMEOUT_S: Final = 2.0
_TOGETHER: Final = 100  # lines in one write
_AT_ONCE: Final = 20  # lines of a second that are written as they come; after them
_PAUSE_S: Final = 0.02  # between writes: to wake the thread for each costs its caller more than it
_ERRORS: Final = frozenset(("error", "critical"))  # these end the pause
_ENCODED: Final = 120  # characters without a gap, from which on a text may be an encoded secret
_KEYS: Final = 512  # names of fields that are kept cleaned
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
    rf"|[\w+/=-]{{{_ENCODED},}}"
)
_ADDRESS = re.compile(
    r"([\w.!#$%&'*+/=?^`{|}~-]{1,64}|\"[^\"]{1,64}\")@(?=[\w\[])[\w.:\[\]-]{1,255}"
)
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FIRST_FIELDS: Final = ("timestamp", "level", "event", "logger")
_JSON: Final = json.JSONEncoder(ensure_ascii=False).encode

# When, in nanoseconds; level, logger, event, and its fields.
_Event = tuple[int, str, str, str, dict[str, object]]


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
        # Begun once, as in `keys/mac.py`, which lies above: `hmac.digest` lets the interpreter go
        # at each call, and the loop had to wait for it until a busy thread gave it back.
        self._begun = hmac.new(key, digestmod="sha256")
        self.field = functools.lru_cache(_KEYS)(self._field)

    def address(self, text: str) -> str:
        local_part, at, domain = text.rpartition("@")
        if self._plain or not at or local_part.endswith("***"):
            return text
        mac = self._begun.copy()
        mac.update(text.lower().encode(errors="replace"))
        return f"{local_part[:1]}***@{domain.lower()}#{mac.hexdigest()[:8]}"

    def text(self, text: str) -> str:
        """Each pattern is looked for only where something stands that it cannot do without."""
        if len(text) >= _ENCODED or _may_hold_secret(text):
            cut = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."
            text = _SECRET_TEXT.sub(SECRET, cut)
        if "@" in text and not self._plain:
            text = _ADDRESS.sub(lambda match: self.address(match[0]), text)
        return text if text.isprintable() else _UNSAFE.sub(_escape, text)

    def _field(self, name: str) -> tuple[str, bool]:
        """The name of a field as it is written, and whether its value is a secret."""
        return self.text(name), _SECRET_KEY.search(name) is not None


def _may_hold_secret(text: str) -> bool:
    """Whether a text too short to be encoded octets may match `_SECRET_TEXT`."""
    return "eyJ" in text or "-----BEGIN " in text or "bearer " in text.lower()


class Logging:
    """What `setup` has set up: the thread that writes. `close` writes what is left."""

    def __init__(
        self, lines: _Lines, stream: TextIO, level: int, on_drop: Callable[[], object]
    ) -> None:
        self.level = level
        self.dropped = 0
        self._lines = lines
        self._stream = stream
        self._on_drop = on_drop
        self._limit = QUEUE_EVENTS
        self._records: queue.SimpleQueue[logging.LogRecord | _Event | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._is_urgent = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, record: logging.LogRecord | _Event) -> None:
        """Leave a record to the thread, or drop it if too many wait."""
        if self._records.qsize() < self._limit:
            self._records.put(record)
        else:
            self._drop(1)
        if _is_error(record):
            self._is_urgent.set()  # what follows it may be the end of the process

    def close(self) -> None:
        """Write what waits, for at most CLOSE_TIMEOUT_S. May be called twice."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._is_urgent.set()
        atexit.unregister(self.close)
        self._records.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)  # standard error may be stuck: nothing more to be done

    def _drop(self, events: int) -> None:
        for _ in range(events):
            self.dropped += 1
            self._on_drop()

    def _run(self) -> None:
        records = self._records
        since_s, count = 0.0, 0
        is_last = False
        while not is_last:
            lines: list[str] = []
            record = records.get()
            while record is not None:
                self._render(record, lines)
                if records.empty() or len(lines) >= _TOGETHER:
                    break
                record = records.get()
            is_last = record is None
            if lines:
                self._write(lines)
            now_s = time.monotonic()
            if now_s - since_s > 1:
                since_s, count = now_s, 0
            count += len(lines)
            if count > _AT_ONCE and records.empty() and not self._closed.is_set():
                self._is_urgent.wait(_PAUSE_S)
                self._is_urgent.clear()

    def _render(self, record: logging.LogRecord | _Event, lines: list[str]) -> None:
        try:
            lines.append(self._lines.render(record))
        except Exception:  # noqa: BLE001 - a value that cannot be shown; there is nowhere to report it
            self._drop(1)

    def _write(self, lines: list[str]) -> None:
        """Write lines. Those that cannot be written are dropped."""
        try:
            self._stream.write("".join(lines))
            self._stream.flush()
        except UnicodeError:  # nothing was written: the stream cannot encode one of them
            if len(lines) == 1:
                self._drop(1)
            else:
                for line in lines:
                    self._write([line])
        except Exception:  # noqa: BLE001 - whatever stands for standard error; as in _render
            self._drop(len(lines))


def _is_error(record: logging.LogRecord | _Event) -> bool:
    if isinstance(record, tuple):
        return record[1] in _ERRORS
    return record.levelno >= logging.ERROR


class _Lines:
    """How records become lines."""

    def __init__(self, form: str, *, colors: bool) -> None:
        self._render: Callable[[object, str, EventDict], str] = _as_json
        if form != "json":
            self._render = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)
        self._foreign = structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                _time_of_record,
                structlog.processors.format_exc_info,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _clean,
                self._render,
            ],
        )

    def render(self, record: logging.LogRecord | _Event) -> str:
        """One record, with its line end."""
        if not isinstance(record, tuple):
            return self._foreign.format(record) + "\n"
        at_ns, level, logger, event, fields = record
        at = dt.datetime.fromtimestamp(at_ns // 10**9, dt.UTC)
        at = at.replace(microsecond=at_ns // 1000 % 10**6, tzinfo=None)
        first = {"timestamp": f"{at.isoformat()}Z", "level": level, "event": event}
        first["logger"] = logger
        cleaned = _clean(None, level, first | fields | first)
        return f"{self._render(None, level, cleaned)}\n"


def _as_json(_: object, __: str, event: EventDict) -> str:
    return _JSON(event)


class _Put(logging.Handler):
    """Root's only handler: hands records over as they are."""

    def __init__(self, target: Logging) -> None:
        super().__init__()
        self.target = target

    def emit(self, record: logging.LogRecord) -> None:
        self.target.put(record)


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
    global _redactor, _running, _processors  # noqa: PLW0603 - one per process, by its nature
    key = hash_key or (_redactor and _redactor._key) or secrets.token_bytes(16)  # noqa: SLF001
    _redactor = _Redactor(plain=settings.addresses == "plain", key=key)
    target_stream = stream if stream is not None else sys.stderr
    lines = _Lines(settings.format, colors=target_stream.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    running = Logging(lines, target_stream, level, on_drop)
    atexit.register(running.close)
    _install(_Put(running), level)
    _running, _processors = running, [_put_event]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Named,
        cache_logger_on_first_use=False,  # setup may come again, on SIGHUP
    )
    return running


class Logger:
    """The logger of a module, or of what it is bound to."""

    __slots__ = ("_bound", "_name")

    def __init__(self, name: str, bound: Mapping[str, object]) -> None:
        self._name = name
        self._bound = bound

    def bind(self, **fields: object) -> Logger:
        """A logger whose events have these fields, too."""
        return Logger(self._name, {**self._bound, **fields})

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, "debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, "info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, "warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._log(logging.ERROR, "error", event, fields)

    def critical(self, event: str, **fields: object) -> None:
        self._log(logging.CRITICAL, "critical", event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """An error, with the exception that is being handled."""
        self._log(logging.ERROR, "error", event, {"exc_info": True, **fields})

    def _log(self, level: int, name: str, event: str, fields: dict[str, object]) -> None:
        if self._bound:
            fields = {**self._bound, **fields}
        running = _running
        if running is None or not _is_ours(structlog.get_config()["processors"]):
            structlog.get_logger(self._name).log(level, event, **fields)
        elif level >= running.level:
            _put(running, name, self._name, event, fields)


def _is_ours(processors: list[Processor]) -> bool:
    """Whether structlog is as `setup` left it; its capture_logs changes that very list."""
    return processors is _processors and processors[0] is _put_event


def get_logger(name: str) -> Logger:
    """The logger of a module: `get_logger(__name__)`."""
    return Logger(name, {})


@contextlib.contextmanager
def context(**fields: object) -> Iterator[None]:
    """Add fields to every event of this task, and of those it starts, until the block ends."""
    before = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(before)


class _Named:
    """What structlog takes for a logger: a name."""

    def __init__(self, name: str = "") -> None:
        self.name = name


def _put_event(logger: _Named, level: str, fields: EventDict) -> EventDict:
    """The only processor: hand over what came through structlog, not by way of `Logger`."""
    if _running is not None:
        _put(_running, level, logger.name, fields.pop("event"), dict(fields))
    raise structlog.DropEvent


def _put(running: Logging, level: str, logger: str, event: str, fields: dict[str, object]) -> None:
    for key, value in _context.get().items():
        fields.setdefault(key, value)
    if "exc_info" in fields:
        structlog.processors.format_exc_info(None, level, fields)  # while there is one
    running.put((time.time_ns(), level, logger, event, fields))


def address(text: str) -> str:
    """A mail address as it may be logged. The only way an address gets into an event."""
    return _current().address(text)


_redactor: _Redactor | None = None
_running: Logging | None = None
_processors: list[Processor] = []
_context: ContextVar[Mapping[str, object]] = ContextVar("log_context", default={})  # noqa: B039 - never changed


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
    cleaned: dict[str, object] = {}
    for key, value in fields.items():
        name, is_secret = redactor.field(str(key))
        if is_secret and value is not None:
            cleaned[name] = SECRET
        elif type(value) is str:
            cleaned[name] = redactor.text(value)
        else:
            cleaned[name] = _value(redactor, value, depth=depth + 1)
    return cleaned


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
