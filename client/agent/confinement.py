"""What a process of the device may not do, as far as Linux lets a program bind itself; elsewhere nothing happens.

The worker, which sees private images, gives up: the network (a network namespace of its own, with nothing in it),
core dumps, being read by a debugger, its place in the queue for the processor, and its life when memory runs out or
its parent ends. Where the system refuses one of them the worker goes on without; what was refused is logged.
"""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
NICENESS = 10
FIRST_TO_DIE = "1000"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def die_with_parent(parent: int, how: int = signal.SIGKILL) -> None:
    """End this process when `parent`, which started it, ends."""
    if not sys.platform.startswith("linux"):
        return
    _prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        os.kill(os.getpid(), how)


def _leave_network() -> None:
    libc = _libc()
    if libc.unshare(CLONE_NEWNET) != 0 and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def _limit_memory(mib: int | None) -> None:
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if mib is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (mib * 2**20, mib * 2**20))


def _give_way() -> None:
    os.nice(NICENESS)
    Path("/proc/self/oom_score_adj").write_text(FIRST_TO_DIE, encoding="ascii")


def _close_to_others() -> None:
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_DUMPABLE, 0)


def confine_worker(memory_limit_mib: int | None) -> list[str]:
    """Give up what a worker does not need; to be called before a thread is started.

    Returns:
        What the system refused.
    """
    if not sys.platform.startswith("linux"):
        return ["everything: this is not Linux"]
    steps: dict[str, Callable[[], None]] = {
        "memory limit": lambda: _limit_memory(memory_limit_mib),
        "priority": _give_way,
        "network": _leave_network,
        "debuggers": _close_to_others,
    }
    refused = []
    for name, step in steps.items():
        try:
            step()
        except (OSError, ValueError) as error:
            refused.append(f"{name}: {error}")
    return refused
