"""`tinytrain-sim rehearse`: its files, its words, its exit codes; and a small fleet that really personalises."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from server.fleet.rollout.spec import RolloutSpec
from simulations.population import node_configs
from simulations.rehearsal import commands
from simulations.rehearsal.folder import Releases
from simulations.rehearsal.output import write_findings
from simulations.rehearsal.rehearse import rehearse
from simulations.rehearsal.work import personalise
from simulations.rehearsal.world import RehearsedWorld
from simulations.settings import build_settings
from tests.simulations.rehearsals import SPEC, Instant, good, worse
from tinytrain_core.errors import ConfigurationError

SMALL = {"devices": 6, "mix": {"pi_4": 2, "stm32h743": 1}, "shots": 2, "holdout": 2, "min_ways": 2, "max_ways": 3}
app = typer.Typer()
app.command()(commands.rehearse_command)


def spec_file(folder: Path, **changes: Any) -> Path:
    file = folder / "spring.yaml"
    file.write_text(yaml.safe_dump(SPEC | changes))
    return file


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(commands, "executor", lambda *_: Instant.of(good))
    return monkeypatch


def test_a_rollout_that_completes(tmp_path: Path, instant: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    code, stdout, _ = call(spec_file(tmp_path), "-o", "devices=12", "--out", out)
    assert code == 0
    for text in ("virtual minutes after", "stage 1 of 3", "12 reports computed", "devices passed every gate", "MiB"):
        assert text in stdout
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 1
    assert "stage 3, 100 %: passed" in page
    assert len((out / "devices.csv").read_text().splitlines()) == 13
    record = json.loads((out / "rehearsal.json").read_text())
    assert record["end"] == "completed"
    assert [stage["began"] for stage in record["stages"]] == ["day 1 00:00", "day 1 00:10", "day 1 00:20"]


def test_a_rollout_that_a_gate_stops_has_an_exit_code_of_its_own(tmp_path: Path, instant: pytest.MonkeyPatch) -> None:
    instant.setattr(commands, "executor", lambda *_: Instant.of(worse))
    code, stdout, stderr = call(spec_file(tmp_path), "-o", "devices=12", "--out", tmp_path / "out", "--format", "json")
    assert code == commands.NOT_COMPLETED
    record = json.loads(stdout)
    assert record["end"] == "rolled back"
    assert record["stages"][0]["verdict"].endswith("are worse; at most 30% may be")
    assert record["remaining"].keys() == {"waiting: its stage did not begin"}
    assert "rehearsed in" in stderr


def test_the_rollout_that_comes_with_the_program_has_a_name(tmp_path: Path, instant: pytest.MonkeyPatch) -> None:
    code, stdout, _ = call("rollout", "-o", "devices=12", "--out", tmp_path / "out")
    assert code == 0
    assert "80.2 virtual minutes" in stdout, "its first ten are watched for an hour"


def test_a_rollout_that_is_not_there_is_told_where_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"docs/operations.md .* simulations/configs/rollout.yaml"):
        call(tmp_path / "nosuch.yaml", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_stays(tmp_path: Path, instant: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigurationError, match=r"holds 2 other files or folders .*; give another --out"):
        call(spec_file(tmp_path), "--out", tmp_path)


def test_flowers_own_engine_cannot_rehearse(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="workers, or ray"):
        call(spec_file(tmp_path), "-o", "engine=flower", "--out", tmp_path / "out")


def test_an_interrupt_says_how_to_go_on(tmp_path: Path, instant: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    instant.setattr(commands, "executor", lambda *_: Instant(interrupted))
    arguments = (spec_file(tmp_path), "-o", "devices=12", "--out", tmp_path / "out")
    code, _, stderr = call(*arguments)
    assert code == 130
    assert "the same command goes on" in stderr
    instant.setattr(commands, "executor", lambda *_: Instant.of(good))
    assert call(*arguments)[0] == 0


def test_devices_really_personalise_whoever_computes(tmp_path: Path) -> None:
    """Two processes of this machine, and this very process with its jobs the other way round, give the same files."""
    training = {"method": "last_layer", "steps": 2, "views": 1}
    changes = {"stages": [{"percent": 100}], "training": training, "gates": {"min_reports": 1, "too_few": "pass"}}
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(yaml.safe_dump(SMALL | {"workers": 2}))
    out, here = tmp_path / "out", tmp_path / "here"
    code, _, stderr = call(spec_file(tmp_path, **changes), "--fleet", fleet, "--out", out, "--format", "json")
    assert code in (0, commands.NOT_COMPLETED), stderr
    settings = build_settings(SMALL)
    nodes = node_configs(settings, here)
    spec, world = RolloutSpec.model_validate(SPEC | changes), RehearsedWorld(settings, nodes)
    here.mkdir()
    rehearsal = rehearse(spec, nodes, world, Releases(settings.backbone), Instant(personalise), here)
    write_findings(rehearsal, settings, "", here)
    assert (here / "devices.csv").read_bytes() == (out / "devices.csv").read_bytes()
    ours, theirs = (json.loads((folder / "rehearsal.json").read_text()) for folder in (here, out))
    for name in ("end", "virtual_hours", "stages", "decisions", "remaining", "totals"):
        assert ours[name] == theirs[name]
    assert sum(stage["reported"] for stage in ours["stages"]) == SMALL["devices"]
    assert not (out / "scratch").exists()
