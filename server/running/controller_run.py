"""The controller as a run at the SuperLink: submitted, watched by its sign of life, and replaced when it has none.

The controller is a ServerApp, which SuperExec starts as a process of its own. It writes its run, process and the time
into the fleet's database again and again. There is one of it: before a run is submitted, all others are stopped, and
the controller itself takes a lock.
"""

import json
import logging
import math
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.nodes.superlink_session import CONNECTION
from server.pki.folder import CA_CERTIFICATE
from server.releases.trust import load_trust
from server.running.flower_answers import answer_in
from server.running.processes import HUNG_WITHIN_S, STOPPED_WITHIN_S, Identity, command_line, end, identify
from server.running.service import Pauses, run_program
from tinytrain_core.errors import ConfigurationError, FleetError
from tinytrain_core.files import write_file

PROGRAMS = Path(sys.executable).parent
SERVERAPP = "flwr-serverapp"
START_S = 45.0  # at least, until a submitted run has to give its first sign of life
RECENT_RUNS = "50"  # among which those that have not ended are looked for
_LIVE = ("pending", "starting", "running")
_APP = """[project]
name = "tinytrain-controller"
version = "1.0.0"
description = "The controller of a fleet; its code is what the server has installed."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "tinytrain"
fab-include = ["pyproject.toml"]

[tool.flwr.app.components]
serverapp = "server.running.fleet_app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
fleet = %s
"""


@dataclass(frozen=True)
class Beat:
    """A controller's last sign of life: its run, its process, and seconds since 1970 by the clock of then."""

    run_id: str
    pid: int
    beat_s: float


def last_beat(database: Database) -> Beat | None:
    """The last controller's; None where there was none yet."""
    rows = database.rows("SELECT run_id, pid, beat_s FROM controller")
    return Beat(rows[0]["run_id"], rows[0]["pid"], rows[0]["beat_s"]) if rows else None


def controller_process(config: FleetConfig, beat: Beat | None) -> Identity | None:
    """The process of that controller, while it runs."""
    if beat is None:
        return None
    command = command_line(beat.pid)
    ours = any(SERVERAPP in part for part in command) and str(config.pki / CA_CERTIFICATE) in command
    return identify(beat.pid) if ours else None


def write_app(config: FleetConfig) -> Path:
    """The folder that `flwr run` is given: a project file, which names installed code and this fleet."""
    folder = config.state / "app"
    text = _APP % json.dumps(str(config.folder), ensure_ascii=False)
    write_file(folder / "pyproject.toml", text.encode())
    return folder


@dataclass
class ControllerRun:
    """The fleet's one controller. Times are of the clock that nobody sets, `time.monotonic`.

    Attributes:
        environment: of Flower's programs.
        stop: set when the server is to end.
        run_id: of the run that was submitted last.
        late_starts: how many runs in a row gave no sign of life.
    """

    config: FleetConfig
    database: Database
    environment: Mapping[str, str]
    log: logging.Logger
    stop: threading.Event
    run_id: str | None = None
    submitted_s: float = -math.inf
    late_starts: int = 0
    pauses: Pauses = field(default_factory=lambda: Pauses(first_s=1.0))
    _beat: Beat | None = None
    _beat_s: float = -math.inf

    def tick(self, now_s: float, reachable_s: float) -> None:
        """Submit a run where there is no controller.

        Args:
            now_s: the time; reachable_s: since when the SuperLink has answered.
        """
        reason = self._why_not(now_s, reachable_s)
        if reason and now_s >= self.pauses.next_s:
            self._replace(reason, now_s)

    def end_process(self, within_s: float = STOPPED_WITHIN_S) -> None:
        """End the controller's process, where there is one; the run ends with it."""
        if process := controller_process(self.config, last_beat(self.database)):
            end(process, within_s)

    def _why_not(self, now_s: float, reachable_s: float) -> str:
        """What is wrong with the controller; empty where nothing is."""
        if self.run_id is None:
            return "there is none yet"
        beat = last_beat(self.database)
        if beat is None or beat.run_id != self.run_id:
            waited_s = now_s - max(self.submitted_s, reachable_s)
            if waited_s <= max(START_S, self.config.stale_s):
                return ""
            self.late_starts += 1
            return f"run {self.run_id} gave no sign of life for {waited_s:.0f} s; see logs/controller.jsonl"
        self.late_starts = 0
        if controller_process(self.config, beat) is None:
            return f"process {beat.pid} of run {beat.run_id} has ended; see logs/controller.jsonl"
        silent_s = now_s - max(self._heard(beat, now_s), reachable_s)
        if silent_s > self.config.stale_s:
            return f"run {beat.run_id} has given no sign of life for {silent_s:.0f} s"
        return ""

    def _heard(self, beat: Beat, now_s: float) -> float:
        """When a sign of life was first seen here: what it says of the time is by a clock that may be set."""
        if beat != self._beat:
            self._beat, self._beat_s = beat, now_s
        return self._beat_s

    def _replace(self, reason: str, now_s: float) -> None:
        self.log.log(logging.WARNING if self.run_id else logging.INFO, "a controller is started: %s", reason)
        self.pauses.failed(now_s, now_s - self.submitted_s)
        try:
            load_trust(self.config.folder)
            self.end_process(HUNG_WITHIN_S)
            self._stop_runs()
            self.run_id = str(self._flwr("run", str(write_app(self.config)), CONNECTION, needed="run-id"))
        except (FleetError, ConfigurationError) as error:
            self.log.error("no controller could be started: %s; again in %.0f s", error, self.pauses.next_s - now_s)
            return
        self.submitted_s = time.monotonic()
        self.log.info("run %s was submitted", self.run_id)

    def _stop_runs(self) -> None:
        """Stop every run that has not ended, so that none begins beside the next."""
        runs = self._flwr("list", CONNECTION, "--limit", RECENT_RUNS, needed="runs")
        try:
            live = [str(run["run-id"]) for run in runs if run["status"] in _LIVE]
        except (TypeError, KeyError):
            raise FleetError(f"`flwr list` gave runs that cannot be read: {str(runs)[:500]}") from None
        for run_id in live:
            self._flwr("stop", run_id, CONNECTION)

    def _flwr(self, *arguments: str, needed: str = "success") -> Any:
        """What `flwr` answers: the part of it called `needed`.

        Raises:
            FleetError: it failed, did not answer in time, or answered something else.
        """
        command: list[str | Path] = [PROGRAMS / "flwr", *arguments, "--format", "json"]
        printed = run_program(command, self.environment, self.config.state, self.stop)
        return answer_in(printed, f"flwr {arguments[0]}", needed)
