"""What `flwr` prints, understood or told of; and a controller that hangs though its clock says otherwise."""

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from server.fleet.database import Database
from server.running.controller_run import SERVERAPP, ControllerRun
from server.running.flower_answers import answer_in
from tests.server.running import fleet_on_loopback
from tinytrain_core.errors import FleetError

GOOD = '{"success": true, "run-id": "3", "runs": [{"run-id": "2", "status": "running"}]}'


@pytest.mark.parametrize(
    "printed",
    [
        GOOD,
        f"UserWarning: {{deprecated}} thing\n{GOOD}\n",
        f'a set {{1, 2}} and {{"a": [1, {{"b": 2}}]}}\n{GOOD} and {{ more',
        f'{{"success": false}} at first, then {GOOD}',
    ],
)
def test_an_answer_is_found_among_whatever_else_is_printed(printed: str) -> None:
    assert answer_in(printed, "flwr run", "run-id") == "3"
    assert answer_in(printed, "flwr list", "runs") == [{"run-id": "2", "status": "running"}]


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ("", "it said nothing"),
        ("Traceback {oh no", "oh no"),
        ("[1, 2]", "1, 2"),
        ('{"success": false, "error-message": "no such run"}', "no such run"),
        ('{"success": true, "run-id": null}', "without 'run-id'"),
        ('{"success": true}', "without 'run-id'"),
        ("{" * 5_000, "failed"),
    ],
)
def test_what_is_no_answer_is_a_failure_of_the_command(printed: str, why: str) -> None:
    with pytest.raises(FleetError, match=why):
        answer_in(printed, "flwr run", "run-id")


def test_a_controller_that_hangs_is_ended_whatever_its_clock_says(tmp_path: Path) -> None:
    config = fleet_on_loopback(tmp_path / "fleet", stale_s=5.0)
    stop = threading.Event()
    stop.set()  # so that `flwr`, which would find no SuperLink, is not waited for
    command = [sys.executable, "-c", "import time; time.sleep(100)", SERVERAPP, str(config.pki / "ca.crt")]
    with subprocess.Popen(command) as controller, Database(config.database) as database:
        with database.transaction() as connection:
            beat = ("run", controller.pid, time.time() + 86_400)
            connection.execute("INSERT INTO controller VALUES (1, ?, ?, ?)", beat)
        run = ControllerRun(config, database, {}, logging.getLogger("controller-run"), stop, run_id="run")
        for now_s in (100.0, 103.0, 105.0):
            run.tick(now_s, 0.0)
        assert controller.poll() is None
        run.tick(105.1, 0.0)
        assert controller.wait(timeout=10) < 0
