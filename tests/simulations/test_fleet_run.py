"""Whole fleets, started as people start them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.store import Store
from simulations.cli import app
from simulations.engine import run_fleet
from simulations.run_folder import prepare, read_run
from simulations.settings import FleetSettings, load_settings
from tests.conftest import random_backbone
from tests.simulations.fleets import make_folder
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import to_bytes
from tinytrain_core.report import Outcome

PROGRAM = "from simulations.cli import main; main()"
MIX = "mix={stm32h743: 3, jetson_nano: 2}"
LIMIT_S = 300


def start(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FLWR")}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with images, one class of which is not an image, and a backbone."""
    folder = tmp_path_factory.mktemp("fleet")
    images = make_folder(folder / "images", dict.fromkeys("abcd", 30))
    (images / "a" / "broken.png").write_bytes(b"not an image")
    (folder / "backbone.safetensors").write_bytes(to_bytes(random_backbone(load_spec("mcunet-5fps"))))
    return folder


def simulate(place: Path) -> subprocess.CompletedProcess:
    flags = ["--devices", "5", "--data", "images", "--workers", "2", "--out", "out2"]
    settings = ["min_ways=2", "max_ways=3", "shots=2", "holdout=2", "steps=2", "backbone=backbone.safetensors", MIX]
    overrides = [part for setting in settings for part in ("-o", setting)]
    return start(["fleet", *flags, *overrides, "--format", "json"], place)


@pytest.fixture(scope="module")
def two_workers(place) -> subprocess.CompletedProcess:
    return simulate(place)


def test_a_fleet_runs_and_prints_its_figures(place, two_workers):
    assert two_workers.returncode == 0, two_workers.stderr
    figures = json.loads(two_workers.stdout)
    assert figures["fleet"]["devices"] == 5
    assert figures["fleet"]["failed"] == 0
    assert [row["title"] for row in figures["rows"]] == ["STM32H743", "Jetson Nano"]
    assert figures["missing_nodes"] == {}
    assert "DEPRECATED" not in two_workers.stderr
    assert "5/5 devices" in two_workers.stderr


def test_its_folder_holds_the_run_and_the_page(place, two_workers):
    run = read_run(place / "out2")
    assert [report.device for report in run.reports] == [1, 2, 3, 4, 5]
    assert run.nodes == 3  # a gateway of three microcontrollers, and two Jetsons
    assert all(report.wall_s == 0 for report in run.reports)
    assert all(report.live_memory_bytes <= report.memory_budget_bytes for report in run.reports)
    assert "http" not in (place / "out2" / "report.html").read_text()


def test_what_a_device_learnt_stays_in_its_store(place, two_workers):
    run = read_run(place / "out2")
    kept = {number for node in range(3) for number in devices_with_deltas(place / "out2", node)}
    assert kept == {report.device for report in run.reports if report.outcome == Outcome.ADAPTED}


def devices_with_deltas(out: Path, node: int) -> list[int]:
    store = Store(out / "stores" / str(node))
    return [number for number in range(1, 6) if store.deltas(number)]


def test_the_number_of_workers_changes_no_report(place, two_workers, monkeypatch):
    monkeypatch.chdir(place)
    settings = json.loads((place / "out2" / "fleet.json").read_text())["settings"]
    run_fleet(FleetSettings.model_validate(settings | {"workers": 1}), Path("out1"), lambda *_: None)
    assert (place / "out1" / "reports.jsonl").read_bytes() == (place / "out2" / "reports.jsonl").read_bytes()


def test_a_finished_run_is_shown_and_not_computed_again(place, two_workers):
    before = (place / "out2" / "simulation.json").read_bytes()
    again = simulate(place)
    assert again.returncode == 0, again.stderr
    assert "holds this run already, finished" in again.stderr
    assert (place / "out2" / "simulation.json").read_bytes() == before
    assert json.loads(again.stdout)["fleet"] == json.loads(two_workers.stdout)["fleet"]


def test_a_report_is_made_again(place, two_workers, monkeypatch):
    page = place / "out2" / "report.html"
    before = page.read_bytes()
    page.unlink()
    monkeypatch.chdir(place)
    again = CliRunner().invoke(app, ["report", "out2"])
    assert again.exit_code == 0, again.output
    assert "STM32H743" in again.output
    assert page.read_bytes() == before


def test_a_former_run_whose_removal_was_interrupted_neither_is_in_the_way_nor_goes_on(tmp_path, monkeypatch):
    settings, spec = load_settings(None, {}), load_spec("mcunet-5fps")
    prepare(tmp_path, settings, "first", spec)
    for name in ("computed.jsonl", "run.json"):
        (tmp_path / name).touch()
    (tmp_path / "stores").mkdir()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path, settings, "second", spec)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.json", "run.json", "stores"]
    prepare(tmp_path, settings, "third", spec, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.json"]
