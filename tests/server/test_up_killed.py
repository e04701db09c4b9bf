"""`tinytrain-server up` with real processes; each is killed or hangs, and the fleet goes on with one controller."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.running.controller_run import SERVERAPP
from server.running.processes import command_line
from tests.server.running import HAS_FLOWER, Server, fleet_on_loopback, running_server, wait_for

# Put before everything that the supervisor imports: its clock, which others of its processes do not share.
SET_BACK = """\
import pathlib, sys, time
if "up" in sys.orig_argv:
    _time, _set = time.time, pathlib.Path(__file__).with_name("set-back")
    time.time = lambda: _time() - 86400 * _set.exists()
"""

pytestmark = pytest.mark.skipif(not HAS_FLOWER, reason="needs Flower's programs beside Python")
STALE_S = 5.0


def controllers(server: Server) -> list[int]:
    """The processes of controllers of this fleet."""
    certificate = str(server.config.pki / "ca.crt")
    found = []
    for entry in Path("/proc").iterdir():
        command = command_line(int(entry.name)) if entry.name.isdigit() else ()
        if certificate in command and any(SERVERAPP in part for part in command):
            found.append(int(entry.name))
    return found


def goes_on(server: Server) -> bool:
    """Whether everything runs once, and the controller has given a sign of life just now."""
    beat = server.beat()
    alive = all(server.running(program) for program in ("up", "superlink", "superexec"))
    return alive and beat is not None and time.time() - beat.beat_s < 2 and controllers(server) == [beat.pid]


def kill(pid: int, how: signal.Signals = signal.SIGKILL) -> float:
    os.kill(pid, how)
    return time.time()


def beats_after(server: Server, moment_s: float) -> bool:
    beat = server.beat()
    return goes_on(server) and beat is not None and beat.beat_s > moment_s


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for both tests, as it takes long to start; the second ends it."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "sitecustomize.py").write_text(SET_BACK, encoding="utf-8")
    config = fleet_on_loopback(folder / "fleet", stale_s=STALE_S, poll_s=0.3)
    with running_server(config, PYTHONPATH=str(folder)) as server:
        wait_for("the fleet", lambda: goes_on(server))
        yield server


def test_what_hangs_is_killed_and_started_again_though_the_clock_was_set_back(server: Server) -> None:
    (server.config.folder.parent / "set-back").touch()
    hung = wait_for("a SuperLink", lambda: server.running("superlink"))
    hung_s = kill(hung.pid, signal.SIGSTOP)
    wait_for("another SuperLink", lambda: beats_after(server, hung_s) and server.running("superlink") != hung)
    controller = wait_for("a controller", server.beat)
    hung_s = kill(controller.pid, signal.SIGSTOP)
    wait_for("another controller", lambda: beats_after(server, hung_s) and controllers(server) != [controller.pid])
    assert "has not answered for" in server.log()
    assert "no sign of life for" in server.log()


def test_whatever_is_killed_the_fleet_goes_on_with_one_controller(server: Server) -> None:
    for program in ("superlink", "superexec"):
        before = wait_for(program, lambda program=program: server.running(program))
        killed_s = kill(before.pid)
        wait_for(
            f"the fleet after {program} was killed",
            lambda: beats_after(server, killed_s) and server.running(program) != before,  # noqa: B023
        )

    controller = wait_for("a controller", server.beat)
    killed_s = kill(controller.pid)
    wait_for("another controller", lambda: beats_after(server, killed_s))
    after = server.beat()
    assert after is not None
    assert after.run_id != controller.run_id

    killed_s = kill(server.process.pid)
    server.revive()
    wait_for("the fleet after its supervisor was killed", lambda: beats_after(server, killed_s))
    left = [server.running(program) for program in ("superlink", "superexec")]

    server.close()
    assert server.process.returncode == 0
    assert not controllers(server)
    assert all(identity and not Path(f"/proc/{identity.pid}").exists() for identity in left)
    assert not list((server.config.state / "run").iterdir())
