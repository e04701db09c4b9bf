"""The server of an operated fleet: SuperLink, SuperExec and the controller, watched for as long as it runs.

Each of the three may be killed at any time, and so may this process: what ended is started again, what a killed
supervisor left behind is ended first, and the controller goes on from the fleet's database.
"""

import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.nodes.registrar import Registrar
from server.nodes.superlink_session import dialled
from server.pki.health import warnings as pki_warnings
from server.running.controller_run import ControllerRun
from server.running.flower_programs import flower_environment, is_healthy, superexec_command, superlink_command
from server.running.processes import HUNG_WITHIN_S, identify, note
from server.running.refusal_watch import RefusalWatch
from server.running.service import Service
from tinytrain_core.errors import StorageError
from tinytrain_core.files import exclusive

TICK_S = 0.25
TURN_S = 10.0  # to wait for a supervisor that is just ending
HEALTH_S = 2.0  # between two looks at the SuperLink's health
TROUBLE_S = 5.0
DAY_S = 86_400.0
SUPERLINK, SUPEREXEC = "superlink", "superexec"


@dataclass
class Health:
    """What is known of the SuperLink's health; times are of the clock that nobody sets, `time.monotonic`.

    Attributes:
        since_s: since when it has answered without a break; None where it does not.
        asked_s, answered_s: when it was last asked, and last answered or was started.
    """

    since_s: float | None = None
    asked_s: float = -math.inf
    answered_s: float = field(default_factory=time.monotonic)

    def look(self, config: FleetConfig, now_s: float) -> None:
        """Ask it, where it is time to."""
        if now_s - self.asked_s < HEALTH_S:
            return
        self.asked_s = now_s
        if is_healthy(config):
            self.since_s = self.since_s or now_s
            self.answered_s = now_s
        else:
            self.since_s = None


class Up:
    """The server's processes. `run` starts, watches and ends them.

    Raises:
        StorageError: the fleet's folder cannot be written, or its database is damaged.
    """

    def __init__(self, config: FleetConfig, log: logging.Logger, stop: threading.Event) -> None:
        self.config, self.log, self.stop = config, log, stop
        self.renew = threading.Event()  # set when certificates are to be read again
        self.database = Database(config.database)
        environment = flower_environment(config)
        self.refusals = RefusalWatch(config, log)
        state = config.state
        self.superlink = Service(
            SUPERLINK, superlink_command(config), environment, state, log, on_line=self.refusals.superlink_line
        )
        self.superexec = Service(SUPEREXEC, superexec_command(config), environment, state, log)
        self.controller = ControllerRun(config, self.database, environment, log, stop)
        self.registrar = Registrar(config, log)
        self.health = Health()
        self._warned_s = -math.inf

    def run(self) -> None:
        """Watch them until `stop` is set; then end controller, SuperExec and SuperLink, in this order."""
        self.log.info("the server of %s starts", self.config.folder)
        for service in (self.superexec, self.superlink):
            service.clean_up()
        self.controller.end_process()
        try:
            while not self.stop.wait(TICK_S):
                self._tick_or_wait()
        finally:
            self._end()

    def _tick_or_wait(self) -> None:
        """A tick; a disk that is full or a database that is busy ends nothing here."""
        try:
            self._tick(time.monotonic())
        except (StorageError, sqlite3.Error, OSError) as error:
            self.log.error("%s; again in %.0f s", error, TROUBLE_S)
            self.stop.wait(TROUBLE_S)

    def _tick(self, now_s: float) -> None:
        self._daily(now_s)
        if self.renew.is_set():
            self.renew.clear()
            self.superlink.restart("its certificates are to be read again")
        self.superlink.tick()
        self.superexec.tick()
        self._look(now_s)
        self.refusals.look(now_s)
        if self.health.since_s is not None:
            self.registrar.tick(self.database)
            self._control(time.monotonic(), self.health.since_s)

    def _look(self, now_s: float) -> None:
        """Ask the SuperLink how it is, and start it again when it has long not answered."""
        if self.superlink.identity is None:
            self.health = Health()
            return
        before = self.health.since_s
        self.health.look(self.config, now_s)
        if before is None and self.health.since_s is not None:
            self.log.info("the SuperLink answers at %s", dialled(self.config.superlink))
        if now_s - self.health.answered_s > self.config.stale_s:
            silent_s = now_s - self.health.answered_s
            self.superlink.restart(f"it has not answered for {silent_s:.0f} s", HUNG_WITHIN_S)
            self.health = Health()

    def _control(self, now_s: float, reachable_s: float) -> None:
        """See to the controller; SuperExec, which should have started it, is started again where it did not."""
        late = self.controller.late_starts
        self.controller.tick(now_s, reachable_s)
        if self.controller.late_starts > late:
            self.superexec.restart("it did not start the controller")

    def _daily(self, now_s: float) -> None:
        if now_s - self._warned_s < DAY_S:
            return
        self._warned_s = now_s
        for warning in pki_warnings(self.config, time.time()):
            self.log.warning("%s", warning)

    def _end(self) -> None:
        self.log.info("the server stops")
        self.controller.end_process()
        self.superexec.stop()
        self.superlink.stop()
        self.registrar.wait()
        self.database.close()
        self.log.info("the server has stopped")


def supervisor_file(config: FleetConfig) -> Path:
    """Where the supervisor's process is written down."""
    return config.state / "run" / "up.json"


@contextmanager
def only_one(config: FleetConfig) -> Iterator[None]:
    """No other server of this fleet on this machine.

    Raises:
        StorageError: there is one.
    """
    with exclusive(config.state / "up", wait_s=TURN_S):
        if identity := identify(os.getpid()):
            note(supervisor_file(config), identity)
        try:
            yield
        finally:
            supervisor_file(config).unlink(missing_ok=True)
