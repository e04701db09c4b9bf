"""A worker as its parent sees it: started, listened to, paused, ended. Only what it wrote in lines comes back."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from client.agent.worker import Job
from tinytrain_core.errors import StorageError

MAX_LINE = 64 * 2**10
MAX_LOG = 2**20


class Work(Protocol):
    """A job that is being done."""

    def lines(self) -> list[bytes]:
        """What it has written since the last time, by lines."""

    def ended(self) -> int | None:
        """Its exit code once it has ended and all its lines were taken; None before."""

    def pause(self, paused: bool) -> None:
        """Let it rest, or go on."""

    def stop(self) -> None:
        """End it now, if it has not ended."""


class Starter(Protocol):
    """What begins a job."""

    def __call__(self, job: Job) -> Work: ...


def _log_file(file: Path) -> IO[bytes]:
    """The worker's log, the one before kept once it has grown long."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > MAX_LOG:
        file.replace(file.with_suffix(".1.log"))
    return file.open("ab")


@dataclass
class WorkerProcess:
    """A worker in a process of its own."""

    process: subprocess.Popen[bytes]
    paused: bool = False
    _rest: bytes = b""
    _open: bool = True

    @classmethod
    def start(cls, job: Job, log_file: Path) -> "WorkerProcess":
        """Start it.

        Raises:
            StorageError: its log cannot be opened, or the system has no room for a process.
        """
        command = [sys.executable, "-m", "client.agent.worker"]
        try:
            with _log_file(log_file) as errors:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
                )
        except OSError as error:
            raise StorageError(f"a worker cannot be started: {error}; free memory, or the disk") from error
        worker = cls(process)
        with suppress(BrokenPipeError):  # it has died already; its exit code will say so
            if process.stdin is not None:
                process.stdin.write(job.model_dump_json().encode() + b"\n")
                process.stdin.close()
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
        return worker

    def lines(self) -> list[bytes]:
        while self._open and self.process.stdout is not None:
            chunk = self.process.stdout.read(MAX_LINE)
            if chunk is None or len(self._rest) > MAX_LINE:
                break
            self._rest += chunk
            if not chunk:
                self._close()
        *whole, self._rest = self._rest.split(b"\n")
        if len(self._rest) > MAX_LINE:
            self.stop()
            return [*whole, self._rest]  # one line that is too long, for the guard to refuse
        return whole

    def ended(self) -> int | None:
        code = self.process.poll()
        return None if code is None or self._open else code

    def pause(self, paused: bool) -> None:
        if paused != self.paused and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)
            self.paused = paused

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        self._open = False
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass
class Running:
    """A worker, and the clocks of the device that it is at."""

    work: Work
    device_began: float
    rests_since: float | None = None
    rested_s: float = 0.0

    def worked_s(self, now: float) -> float:
        """Seconds that it has worked on its device."""
        resting = now - self.rests_since if self.rests_since is not None else 0.0
        return now - self.device_began - self.rested_s - resting

    def rest(self, resting: bool, now: float) -> None:
        """Pause it, or let it go on."""
        self.work.pause(resting)
        if resting and self.rests_since is None:
            self.rests_since = now
        elif not resting and self.rests_since is not None:
            self.rested_s += now - self.rests_since
            self.rests_since = None
