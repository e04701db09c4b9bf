"""A program that is always to run: started again, after a pause that grows, whenever it has ended."""

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from server.running.logs import close_log, open_log, parse_line
from server.running.processes import STOPPED_WITHIN_S, Identity, end, identify, launch, note, noted
from tinytrain_core.errors import FleetError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 60.0  # after which a program is forgiven its earlier ends


@dataclass
class Pauses:
    """How long to wait before the next attempt: twice as long each time, until something has lasted."""

    first_s: float = FIRST_PAUSE_S
    longest_s: float = LONGEST_PAUSE_S
    failures: int = 0
    next_s: float = 0.0

    def failed(self, now_s: float, lasted_s: float = 0.0) -> float:
        """Note an end after `lasted_s`; the seconds until the next attempt."""
        self.failures = 1 if lasted_s >= STEADY_S else min(self.failures + 1, 32)
        pause_s = min(self.first_s * 2.0 ** (self.failures - 1), self.longest_s)
        self.next_s = now_s + pause_s
        return pause_s


@dataclass
class Service:
    """One of Flower's programs, as a child of this process.

    Attributes:
        name: of the program, its log and its file of identity.
        folder: the fleet's `state/`, in which it runs; identities are in `run/` and logs in `logs/` below.
        on_line: told of every line that it prints, in a thread of its own.
    """

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    folder: Path
    log: logging.Logger
    on_line: Callable[[str], None] = lambda _: None
    pauses: Pauses = field(default_factory=Pauses)
    started_s: float = 0.0
    _process: subprocess.Popen[str] | None = None
    _reader: threading.Thread | None = None

    @property
    def identity_file(self) -> Path:
        """Where its number is written down."""
        return self.folder / "run" / f"{self.name}.json"

    @property
    def identity(self) -> Identity | None:
        """The process, while it runs."""
        return None if self._process is None else identify(self._process.pid)

    def clean_up(self) -> None:
        """End what a supervisor that was killed has left behind."""
        if left := noted(self.identity_file):
            self.log.warning("%s of a supervisor that was killed still runs as process %d", self.name, left.pid)
            end(left)
        self.identity_file.unlink(missing_ok=True)

    def tick(self) -> None:
        """Start it where it does not run and its pause is over."""
        now_s = time.monotonic()
        if self._process is not None and (code := self._process.poll()) is not None:
            self._ended(code, now_s)
        if self._process is None and now_s >= self.pauses.next_s:
            self._start(now_s)

    def stop(self, within_s: float = STOPPED_WITHIN_S) -> None:
        """End it, for good or until the next tick after its pause; it is killed where that takes longer."""
        if self._process is None:
            return
        if (identity := identify(self._process.pid)) and not end(identity, within_s):
            self.log.warning("%s did not end when it was asked to; it was killed", self.name)
        self._process.wait()
        self._forget()

    def restart(self, reason: str, within_s: float = STOPPED_WITHIN_S) -> None:
        """End it, to be started by a later tick."""
        self.log.warning("%s is started again: %s", self.name, reason)
        self.stop(within_s)
        self.pauses.failed(time.monotonic())

    def _start(self, now_s: float) -> None:
        try:
            self._process = launch(self.command, self.environment, self.folder)
        except OSError as error:
            pause_s = self.pauses.failed(now_s)
            self.log.error("%s cannot be started: %s; again in %.1f s", self.name, error, pause_s)
            return
        self.started_s = now_s
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        if identity := identify(self._process.pid):
            note(self.identity_file, identity)
        self.log.info("%s runs as process %d", self.name, self._process.pid)

    def _ended(self, code: int, now_s: float) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        pause_s = self.pauses.failed(now_s, now_s - self.started_s)
        self.log.error("%s %s; again in %.1f s; see logs/%s.jsonl", self.name, how, pause_s, self.name)
        self._forget()

    def _forget(self) -> None:
        if self._reader is not None:
            self._reader.join(timeout=1.0)  # a child that it left behind would keep the pipe open
        if self._process is not None and self._process.stdout is not None and not self._reading():
            self._process.stdout.close()
        self._process = self._reader = None
        self.identity_file.unlink(missing_ok=True)

    def _reading(self) -> bool:
        return self._reader is not None and self._reader.is_alive()

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Put what it prints into its log."""
        log = open_log(self.folder / "logs", self.name)
        with suppress(ValueError):  # the pipe was closed
            for line in process.stdout or ():
                level, text = parse_line(line)
                if text:
                    log.log(level, "%s", text)
                    self.on_line(text)
        close_log(log)


def run_program(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    folder: Path,
    stop: threading.Event,
    within_s: float = 60.0,
) -> str:
    """What a short program prints, unless `stop` is set meanwhile.

    Raises:
        FleetError: it failed, did not end in time, or was stopped.
    """
    name = f"{Path(command[0]).name} {command[1]}"
    process = launch(command, environment, folder)
    printed: list[str] = []
    reader = threading.Thread(target=lambda: printed.append(process.stdout.read() if process.stdout else ""))
    reader.start()
    give_up_s = time.monotonic() + within_s
    while process.poll() is None and not stop.is_set() and time.monotonic() < give_up_s:
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
    code = process.wait()
    reader.join()
    if process.stdout:
        process.stdout.close()
    if code:
        why = " ".join("".join(printed).split()) or f"it ended with {code}"
        raise FleetError(f"`{name}` failed: {why[:500]}")
    return "".join(printed)
