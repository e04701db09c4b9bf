"""Processes of Linux: children that die with their parent, and what a killed parent left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tinytrain_core.files import write_file

STOPPED_WITHIN_S = 6.0  # Flower's programs force their own end after 5
HUNG_WITHIN_S = 1.0  # for what has long not answered
_LOOK_S = 0.05
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_AFTER_NAME = 19  # of the fields of /proc/PID/stat behind the program's name, the place of its start
# Asks the kernel for SIGKILL when the parent ends, and becomes the program. A process of its own does so because
# code between fork and exec is not safe in a parent with threads.
_LAUNCHER = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execve(sys.argv[2], sys.argv[2:], os.environ)\n"
)


@dataclass(frozen=True)
class Identity:
    """A process for ever: its number alone would be used again.

    Attributes:
        started: ticks since the machine's start.
        boot: which start of the machine.
    """

    pid: int
    started: int
    boot: str


def identify(pid: int) -> Identity | None:
    """The process of that number; None where there is none, or it has ended and nobody has asked how."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = _BOOT.read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Identity(pid, int(fields[_AFTER_NAME]), boot)


def command_line(pid: int) -> tuple[str, ...]:
    """What a process was started as; empty where it is gone."""
    try:
        return tuple(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1])
    except OSError:
        return ()


def is_alive(identity: Identity) -> bool:
    """Whether that very process goes on."""
    return identify(identity.pid) == identity


def launch(command: Sequence[str | Path], environment: Mapping[str, str], folder: Path) -> subprocess.Popen[str]:
    """A child whose output is one pipe, out of reach of the terminal's Ctrl-C, killed when this process ends.

    Args:
        command: the program's whole path, and its arguments.
        folder: in which it runs.

    Raises:
        OSError: it cannot be started.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *map(str, command)]
    return subprocess.Popen(
        launcher,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def send(identity: Identity, what: signal.Signals) -> None:
    """Send that very process a signal; nothing where it is gone."""
    if is_alive(identity):
        try:
            os.kill(identity.pid, what)
        except ProcessLookupError:
            return


def end(identity: Identity, within_s: float = STOPPED_WITHIN_S) -> bool:
    """End a process: SIGTERM, and SIGKILL where it is still there after `within_s`. Whether SIGTERM was enough."""
    send(identity, signal.SIGTERM)
    give_up_s = time.monotonic() + within_s
    while is_alive(identity):
        if time.monotonic() >= give_up_s:
            send(identity, signal.SIGKILL)
            return False
        time.sleep(_LOOK_S)
    return True


def note(file: Path, identity: Identity) -> None:
    """Write down who runs, for whoever comes after this process.

    Raises:
        StorageError: it cannot be written.
    """
    write_file(file, json.dumps(asdict(identity)).encode())


def noted(file: Path) -> Identity | None:
    """The process that was written down, where it goes on."""
    try:
        identity = Identity(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return identity if is_alive(identity) else None
