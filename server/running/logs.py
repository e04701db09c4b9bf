"""Logs for programs: one line of JSON for each event, in files that are turned over before they fill the disk.

    python -m server.running.logs FLEET/state/logs

turns over what the proxy has written there, for a timer: it goes on while `tinytrain-server up` does not run.
"""

import json
import logging
import re
import shutil
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_BYTES = 10 * 2**20
KEPT = 5
ACCESS_LOG, ERROR_LOG = "proxy.jsonl", "proxy-errors.log"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b\s*:?\s*")
_STAMP = re.compile(r"^\d{4}-\d{2}-\d{2}T[0-9:.]+Z\s+")
_SEARCHED = 40  # characters at a line's start in which its level stands


class JsonLines(logging.Formatter):
    """A record as one line: time (UTC), process, level and text, and the error where there is one."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event = {"time": time, "process": self.process, "level": record.levelname, "text": record.getMessage()}
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


def file_handler(folder: Path, process: str) -> logging.Handler:
    """What writes `<folder>/<process>.jsonl`; one process has it open."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(
        folder / f"{process}.jsonl", maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8", delay=True
    )
    handler.setLevel(logging.INFO)  # Flower writes every message at DEBUG
    handler.setFormatter(JsonLines(process))
    return handler


def open_log(folder: Path, process: str) -> logging.Logger:
    """The log of a process, which goes into its file alone."""
    log = logging.getLogger(f"tinytrain.{process}")
    close_log(log)
    log.addHandler(file_handler(folder, process))
    log.setLevel(logging.INFO)
    log.propagate = False
    return log


def close_log(log: logging.Logger) -> None:
    """Close its files."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


def parse_line(line: str) -> tuple[int, str]:
    """Level and text of a line that Flower printed: without its colours and its time."""
    text = _STAMP.sub("", _COLOUR.sub("", line.rstrip()))
    found = _LEVEL.search(text[:_SEARCHED])
    if found is None:
        return logging.INFO, text
    return logging.getLevelNamesMapping()[found[1]], text[: found.start()] + text[found.end() :]


def turn_over(file: Path, most: int = MAX_BYTES, kept: int = KEPT) -> bool:
    """Put what a process that does not do so itself has written aside once it is more than `most` bytes.

    The file is copied and emptied, so that its writer, which appends, need not know.
    """
    if not file.is_file() or file.stat().st_size <= most:
        return False
    for number in range(kept, 1, -1):
        older = file.with_name(f"{file.name}.{number - 1}")
        if older.exists():
            older.replace(file.with_name(f"{file.name}.{number}"))
    shutil.copyfile(file, file.with_name(f"{file.name}.1"))
    with file.open("r+b") as stream:
        stream.truncate()
    return True


def turn_over_proxy_logs(folder: Path) -> None:
    """Put what the proxy has written aside, where it is much."""
    for name in (ACCESS_LOG, ERROR_LOG):
        turn_over(folder / name)


if __name__ == "__main__":
    turn_over_proxy_logs(Path(sys.argv[1]))
