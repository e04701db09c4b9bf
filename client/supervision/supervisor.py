"""Keeps a node running: `python -m client.supervision.supervisor --name NODE --log FILE -- COMMAND ...`.

It needs the standard library alone, for it stays in memory beside the node. A child that ends is started again, after
a wait that grows from one second to a minute and is not the same for every device of a fleet. One that no longer
moves is killed, as is one that has nothing to do and cannot reach the server for long: that is how a connection which
is alive and dead at once is cured. When this process ends, so does the child.
"""

import argparse
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from client.supervision.beats import BEAT_VARIABLE
from client.supervision.logs import line, to_file_and_stderr
from client.supervision.patience import AT_ONCE, Patience, Watch

GRACE_S = 20.0
MAX_LINE = 64 * 2**10


class Child:
    """A running child, its beats and its log."""

    def __init__(self, command: Sequence[str]) -> None:
        beats, told = os.pipe()
        os.set_blocking(beats, False)
        environment = {**os.environ, BEAT_VARIABLE: str(told)}
        try:
            self.process = subprocess.Popen(
                command, stderr=subprocess.PIPE, pass_fds=(told,), env=environment, start_new_session=True
            )
        except OSError:
            os.close(beats)
            raise
        finally:
            os.close(told)
        self.beats = beats
        self.errors = self.process.stderr.fileno() if self.process.stderr else -1
        os.set_blocking(self.errors, False)
        self.began = time.monotonic()
        self._rest = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.beats, selectors.EVENT_READ)
        self._selector.register(self.errors, selectors.EVENT_READ)

    def listen(self, timeout_s: float) -> tuple[bytes, list[str]]:
        """What it has told, and the lines of its log, within some time."""
        ready = {key.fd for key, _ in self._selector.select(timeout_s)}
        beats = self._read(self.beats) if self.beats in ready else b""
        if self.errors in ready:
            self._rest += self._read(self.errors)
        *whole, self._rest = self._rest.split(b"\n")
        if len(self._rest) > MAX_LINE:
            whole, self._rest = [*whole, self._rest], b""
        return beats, [text.decode(errors="replace") for text in whole]

    def _read(self, descriptor: int) -> bytes:
        try:
            data = os.read(descriptor, MAX_LINE)
        except BlockingIOError:
            return b""
        if not data and descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)
        return data

    def end(self) -> int:
        """Ask it to end, insist after a while; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def close(self) -> None:
        """Let go of its pipes."""
        self._selector.close()
        os.close(self.beats)
        if self.process.stderr:
            self.process.stderr.close()


class Supervisor:
    """Runs a command for ever.

    Attributes:
        stopping: set by a signal; then the child is ended, and nothing is started any more.
    """

    def __init__(self, name: str, command: Sequence[str], log: logging.Logger, watch: Watch | None = None) -> None:
        self._command, self._log = list(command), log
        self._patience, self._watch = Patience(name), watch or Watch()
        self.stopping = False

    def stop(self, *_: object) -> None:
        """End soon; a handler of signals."""
        self.stopping = True

    def _say(self, level: str, message: str, **more: object) -> None:
        self._log.info("%s", line("supervisor", level, message, **more))

    def run(self, once: bool = False) -> int:
        """Keep the child running until stopped.

        Args:
            once: do not start it again.

        Returns:
            The last child's exit code, 0 after an orderly stop.
        """
        while True:
            code, lived_s = self._one_life()
            if self.stopping or once:
                return 0 if self.stopping else code
            wait_s = self._patience.wait_s(lived_s)
            self._say("error", "the node has ended", code=code, lived_s=round(lived_s), next_in_s=round(wait_s, 1))
            if self._patience.deaths >= AT_ONCE:
                self._say(
                    "critical", f"the node has ended at once {self._patience.deaths} times; look at what it last said"
                )
            self._sleep(wait_s)
            if self.stopping:
                return 0

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))

    def _one_life(self) -> tuple[int, float]:
        try:
            child = Child(self._command)
        except OSError as error:
            self._say("error", f"the node cannot be started: {error}")
            return 1, 0.0
        self._say("info", "the node has been started", pid=child.process.pid)
        self._watch.started(time.monotonic())
        try:
            while child.process.poll() is None and not self.stopping:
                self._look(child)
            code = child.end()
            self._look(child)
            return code, time.monotonic() - child.began
        finally:
            child.process.kill()
            child.process.wait()
            child.close()

    def _look(self, child: Child) -> None:
        beats, lines = child.listen(0.5)
        for text in lines:
            self._log.info("%s", text if text.startswith("{") else line("node", "error", text))
        if beats:
            self._watch.heard(beats, time.monotonic())
        if child.process.poll() is not None:
            return
        if complaint := self._watch.complaint(time.monotonic()):
            self._say("error", f"the node is started again: {complaint}")
            child.end()


def main() -> None:
    """Supervise a command."""
    parser = argparse.ArgumentParser(prog="client.supervision.supervisor")
    parser.add_argument("--name", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    command = [*options.command, "--parent", str(os.getpid())]
    supervisor = Supervisor(options.name, command, to_file_and_stderr(options.log))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    sys.exit(supervisor.run())


if __name__ == "__main__":
    main()
