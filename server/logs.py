"""Logs: static messages plus fields, the call's id on every line, and no disk write on the event loop.

    _log.info("call ended", extra={"duration_s": 12.5})

becomes `2026-01-31T12:00:00.123Z INFO server.calls call=rtc_1f… msg="call ended" duration_s=12.5` or, with
`format: json`, one JSON object. What is said in a call is never logged at the default level.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from media.errors import ConfigError
from media.section import Section
from server.settings import UserPath

LevelName = Literal["debug", "info", "warning", "error"]

NO_CALL = "-"

current_call: ContextVar[str] = ContextVar("current_call", default=NO_CALL)
"""The call that this task works for; tasks started by it inherit it."""

_QUEUE_LIMIT = 10_000
"""Records waiting for the writer. Beyond it the newest are dropped and counted: audio waits for no log."""

_NOISY_LOGGERS = {
    "aioice": logging.WARNING,
    "aiortc": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
    "faster_whisper": logging.WARNING,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,
    "mcp": logging.WARNING,
}
"""Loggers of libraries, and the level below which they are not heard, unless the level is `debug`."""

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "call_id",
    "taskName",
}


class LoggingSettings(Section):
    """Section `logging`.

    Attributes:
        level: the least severe that is written.
        format: `text` for people (key=value), `json` for collectors: one object a line.
        console: write to standard error.
        file: also write here, rotated; null for no file.
        file_max_bytes: a fuller file is set aside and a new one begun.
        file_count: files set aside that are kept.
    """

    level: LevelName = "info"
    format: Literal["text", "json"] = "text"
    console: bool = True
    file: UserPath | None = Path("logs/voxtral-kokoro.log")
    file_max_bytes: int = Field(default=10_000_000, ge=10_000)
    file_count: int = Field(default=5, ge=0, le=1000)


@contextmanager
def logging_to(settings: LoggingSettings) -> Iterator[None]:
    """Logs as the settings say, until the block ends; then everything queued is written out.

    Raises:
        ConfigError: the file cannot be written.
    """
    formatter = _JsonFormatter() if settings.format == "json" else _TextFormatter()
    outputs: list[logging.Handler] = []
    if settings.console:
        outputs.append(logging.StreamHandler(sys.stderr))
    if settings.file is not None:
        outputs.append(_rotating_file(settings, settings.file))
    for output in outputs:
        output.setFormatter(formatter)
    records: queue.Queue[logging.LogRecord] = queue.Queue(_QUEUE_LIMIT)
    inlet = _Inlet(records)
    listener = QueueListener(records, *outputs)
    root = logging.getLogger()
    level_before = root.level
    root.addHandler(inlet)
    set_level(settings.level)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(inlet)
        root.setLevel(level_before)
        listener.stop()
        inlet.close()
        for output in outputs:
            output.close()


def set_level(level: LevelName) -> None:
    """Changes what is written from now on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(number)
    for name, quiet in _NOISY_LOGGERS.items():
        logging.getLogger(name).setLevel(logging.NOTSET if number == logging.DEBUG else max(number, quiet))


def _rotating_file(settings: LoggingSettings, path: Path) -> RotatingFileHandler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return RotatingFileHandler(
            path, maxBytes=settings.file_max_bytes, backupCount=settings.file_count, encoding="utf-8"
        )
    except OSError as error:
        raise ConfigError(
            f"The log file {path} cannot be written ({error.strerror}): set logging.file, or null for none.",
            param="logging.file",
        ) from error


class _Inlet(QueueHandler):
    """Puts records into the queue, with the call's id, on whichever thread or task logs."""

    def __init__(self, records: queue.Queue[logging.LogRecord]) -> None:
        super().__init__(records)
        self._records = records
        self._dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        call_id = current_call.get()
        record.call_id = getattr(record, "call_id", call_id) if call_id == NO_CALL else call_id
        # The message is made here, since its arguments may change; the traceback too, since it holds frames.
        record.message = record.getMessage()
        record.msg, record.args = record.message, None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        if self._dropped:
            record.records_dropped_before = self._dropped
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self._dropped += 1
        else:
            self._dropped = 0


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says besides its message; not what libraries (Ray) keep in every record for themselves."""
    return {
        key: value
        for key, value in vars(record).items()
        if key not in _STANDARD_ATTRIBUTES and not key.startswith("_")
    }


def _timestamp(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        words = [
            _timestamp(record),
            record.levelname,
            record.name,
            f"call={getattr(record, 'call_id', NO_CALL)}",
            f"msg={_quoted(record.getMessage())}",
            *(f"{key}={_quoted(value)}" for key, value in _fields(record).items()),
        ]
        if record.exc_text:
            words.append(f"traceback={_quoted(record.exc_text)}")
        return " ".join(words)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "call": getattr(record, "call_id", NO_CALL),
            "msg": record.getMessage(),
            **_fields(record),
        }
        if record.exc_text:
            entry["traceback"] = record.exc_text
        return json.dumps(entry, ensure_ascii=False, default=str)


def _quoted(value: object) -> str:
    """A bare word as it is, anything else as a JSON string: one record stays one line."""
    text = str(value)
    bare = text and not any(character in text for character in ' "=\\') and text.isprintable()
    return text if bare else json.dumps(text, ensure_ascii=False)
