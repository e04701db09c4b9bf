import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from server.fleet.rollout.cli import app
from tests.server.fleet_run import FleetRun
from tests.server.honest_fleet import worse
from tinytrain_core.errors import ConfigurationError

SPEC = """
name: spring
release: 2
stages: [{devices: 3, name: canary}, {percent: 100}]
deadline_s: 600
gates: {min_reports: 3}
"""


@pytest.fixture
def fleet(tmp_path: Path) -> FleetRun:
    return FleetRun(tmp_path / "fleet")


def call(fleet: FleetRun, *arguments: str, answers: str = "") -> Result:
    """A command that succeeds; an error of ours is raised."""
    folder = str(fleet.folder.config.folder)
    result = CliRunner().invoke(app, [*arguments, "--fleet", folder], input=answers)
    if result.exception is not None:
        raise result.exception
    return result


def spec_file(fleet: FleetRun, text: str = SPEC) -> str:
    file = fleet.folder.config.folder / "spring.yaml"
    file.write_text(text)
    return str(file)


def status(fleet: FleetRun) -> dict[str, Any]:
    return dict(json.loads(call(fleet, "status", "--format", "json").stdout))


def test_a_plan_shows_the_stages_and_begins_nothing(fleet: FleetRun) -> None:
    result = call(fleet, "plan", spec_file(fleet), "--format", "json")
    stages = json.loads(result.stdout)
    assert [stage["name"] for stage in stages] == ["canary", ""]
    assert stages[0]["devices"] >= 3
    assert stages[1]["devices_in_all"] == 8
    assert "release 2 to 6 nodes with 8 devices; back is release 1" in result.stderr
    assert fleet.rows("SELECT * FROM rollouts") == []


def test_a_rollout_is_begun_while_the_server_is_down_and_followed_to_its_end(fleet: FleetRun) -> None:
    result = call(fleet, "start", spec_file(fleet))
    assert "the server is not running; it heeds it when `tinytrain-server up` runs" in result.stderr
    assert "canary" in result.stdout
    assert status(fleet)["phase"] == "running"
    fleet.run(1_200)
    found = status(fleet)
    assert (found["phase"], found["stage"], found["stages"]) == ("completed", 2, 2)
    assert found["decisions"][0]["what"] == "began"
    assert {node["step"] for node in found["nodes"]} == {"done"}
    shown = call(fleet, "status", "spring", "--nodes", "--watch").stdout
    assert "completed" in shown
    assert "node-001" in shown
    assert "devices passed every gate" in " ".join(shown.split())
    assert json.loads(call(fleet, "list", "--format", "json").stdout)[0]["phase"] == "completed"
    assert "spring" in call(fleet, "list").stdout


def test_the_operator_pauses_resumes_and_aborts(fleet: FleetRun) -> None:
    call(fleet, "start", spec_file(fleet, SPEC + "concurrency: 1\n"))
    fleet.run(30)
    call(fleet, "pause", "spring", "--reason", "odd reports")
    fleet.run(300)
    assert (status(fleet)["phase"], status(fleet)["reason"]) == ("paused", "odd reports")
    with pytest.raises(ConfigurationError, match="rollout spring is paused; pause needs one that is running"):
        call(fleet, "pause", "spring", "--reason", "again")
    call(fleet, "resume", "spring", "--reason", "a broken camera")
    fleet.run(20)
    assert status(fleet)["phase"] == "running"
    call(fleet, "abort", "spring", "--reason", "enough", answers="y\n")
    fleet.run(1_200)
    found = status(fleet)
    assert found["phase"] == "rolled back"
    done = [each for each in found["decisions"] if "stage" not in each["what"]]
    wanted = ["began", "paused", "resumed", "aborted", "rolling back", "withdrawn", "rolled back"]
    assert [each["what"] for each in done] == wanted
    assert [each["reason"] for each in done][1:4] == ["odd reports", "a broken camera", "enough"]


def test_a_halt_is_seen_with_its_figures(fleet: FleetRun) -> None:
    for node in fleet.nodes.values():
        node.report = worse
    call(fleet, "start", spec_file(fleet, SPEC + "rollback: none\n"))
    fleet.run(600)
    found = status(fleet)
    halted = found["decisions"][-1]
    assert (found["phase"], halted["what"]) == ("halted", "halted")
    assert halted["figures"]["share_worse"] == 1.0
    gates = {each["figure"]: (each["now"], each["bound"], each["judged"]) for each in found["gates"]}
    assert gates["share_worse"] == ("1", "at most 0.3", "failed")
    assert gates["mean_change"] == ("", "at least -0.1", "not judged: 0 of 3")
    assert "at most 0.3" in call(fleet, "status").stdout


def test_accuracies_of_fewer_devices_than_a_cohort_are_not_shown(tmp_path: Path) -> None:
    fleet = FleetRun(tmp_path / "fleet", cohort=5)
    for node in fleet.nodes.values():
        node.report = lambda device, version: worse(device, version).model_copy(update={"accuracy_after": 0.4321})
    call(fleet, "start", spec_file(fleet, SPEC + "rollback: none\n"))
    fleet.run(600)
    text = call(fleet, "status", "--format", "json").stdout
    assert not any(figure in text for figure in ("0.43", "-0.06", "0.07", "3 of 3 devices are worse"))
    gates = {each["figure"]: each["now"] for each in json.loads(text)["gates"]}
    assert gates["share_worse"] == gates["gain_lower_bound"] == "fewer than 5 devices"
    assert "more than 30% of the devices are worse" in status(fleet)["reason"]


def test_what_does_not_exist_is_told(fleet: FleetRun) -> None:
    assert "no rollout yet" in call(fleet, "list").stdout
    with pytest.raises(ConfigurationError, match="there was no rollout yet"):
        call(fleet, "status")
    call(fleet, "start", spec_file(fleet, SPEC + "rollback: none\n"))
    with pytest.raises(ConfigurationError, match="no rollout is called 'summer'"):
        call(fleet, "pause", "summer", "--reason", "x")
    fleet.run(1_200)
    call(fleet, "start", spec_file(fleet, SPEC.replace("spring", "second")))
    with pytest.raises(ConfigurationError, match="only the latest can be told anything"):
        call(fleet, "abort", "spring", "--keep", "--reason", "x")
