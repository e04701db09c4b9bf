"""A device's log: one JSON object a line, for `journalctl` and for a file that cannot grow for ever."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_BYTES = 2**20
KEPT = 3


def line(process: str, level: str, message: str, **more: object) -> str:
    """One entry."""
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": stamp, "process": process, "level": level, "text": message, **more})


class JsonLines(logging.Formatter):
    """Log records as JSON lines."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        more: dict[str, object] = {"logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            more["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return line(self._process, record.levelname, record.getMessage(), **more)


class Plain(logging.Formatter):
    """Lines that are JSON already, as the child writes them."""

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage()


def to_stderr(process: str) -> None:
    """Log to stderr, in JSON; what a library says below a warning is left out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.raiseExceptions = False  # a disk that is full is no reason to end
    for library in ("httpx", "httpcore", "flwr"):
        logging.getLogger(library).setLevel(logging.WARNING)


def to_file_and_stderr(file: Path) -> logging.Logger:
    """A logger whose messages are whole lines already, into a rotated file and to stderr."""
    logger = logging.getLogger("tinytrain.lines")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers.clear()
    logging.raiseExceptions = False
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(RotatingFileHandler(file, maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8"))
    except OSError as error:
        sys.stderr.write(line("supervisor", "error", f"no log file: {error}") + "\n")
    for handler in handlers:
        handler.setFormatter(Plain())
        logger.addHandler(handler)
    return logger
