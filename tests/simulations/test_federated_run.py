"""Whole baselines through the fleet's own engine, with processes and virtual time."""

import json
from pathlib import Path

import pytest

from server.results import read_reports
from simulations.federated.baseline import Finished
from simulations.federated.options import FederatedSettings
from simulations.federated.run import run_federated
from simulations.finished_run import read_run
from tests.simulations.federated_fleet import fleet_settings, make_images
from tinytrain_core.report import Outcome

SAME = ("reports.jsonl", "visits.jsonl", "global.safetensors", "nodes.jsonl")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_images(tmp_path_factory.mktemp("data") / "images", 2, 30))


def run(out: Path, images: str, workers: int) -> Finished:
    """Five devices, of which a gateway's two cannot; a request to train is lost now and then."""
    fleet = fleet_settings(
        devices=5,
        mix={"stm32h743": 2, "pi_4": 3},
        data=images,
        workers=workers,
        faults={"drop_out": 0.3},
    )
    federated = FederatedSettings(method="fedper", rounds=3, local_steps=1, learning_rate=0.001, personal_blocks=1)
    return run_federated(fleet, federated, out, "a test")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, images: str) -> tuple[Path, Finished]:
    out = tmp_path_factory.mktemp("two") / "out"
    return out, run(out, images, 2)


def test_the_number_of_workers_changes_nothing(two: tuple[Path, Finished], images: str, tmp_path: Path) -> None:
    one = run(tmp_path / "one", images, 1)
    assert one == two[1]
    for name in SAME:
        mine, theirs = (
            (folder / name).read_bytes().replace(bytes(folder), b"") for folder in (tmp_path / "one", two[0])
        )
        assert mine == theirs, name


def test_nodes_that_drop_out_do_not_end_it(two: tuple[Path, Finished]) -> None:
    finished = two[1]
    lost = sum(found.missing.get("late", 0) for found in finished.rounds)
    assert 0 < lost < sum(len(found.nodes) for found in finished.rounds)
    assert all(found.devices == len(found.nodes) - found.missing.get("late", 0) for found in finished.rounds)
    assert finished.participants["devices_that_can"] == 3
    assert finished.participants["devices_that_cannot"] == 2


def test_its_folder_is_that_of_any_run(two: tuple[Path, Finished]) -> None:
    out = two[0]
    found = read_run(out)
    assert found.federated == json.loads((out / "fleet.json").read_text())["federated"]
    assert (found.federated["method"], found.settings.method) == ("fedper", "full_train")
    outcomes = {report.device: report.outcome for report in read_reports(out)}
    gateway = [d.number for line in (out / "nodes.jsonl").read_text().splitlines() for d in devices_of(line)]
    assert all(outcomes.get(number, Outcome.CANNOT_AFFORD) == Outcome.CANNOT_AFFORD for number in gateway)
    assert any(outcome in (Outcome.ADAPTED, Outcome.KEPT_BASE) for outcome in outcomes.values())


def devices_of(line: str) -> list:
    from client.config import NodeConfig

    return [d for d in NodeConfig.model_validate_json(line).devices if d.profile == "stm32h743"]


def test_bytes_and_joules_are_those_of_all_visits(two: tuple[Path, Finished]) -> None:
    out = two[0]
    visits = [json.loads(line) for line in (out / "visits.jsonl").read_text().splitlines()]
    told = json.loads((out / "run.json").read_text())["federated"]
    total = told["costs"]["total"]
    assert total["messages"] == len(visits)
    assert total["down_bytes"] == sum(v["down_bytes"] for v in visits)
    assert total["up_bytes"] == sum(v["up_bytes"] for v in visits)
    assert total["energy_j"] == pytest.approx(sum(w["energy_j"] for v in visits for w in v["works"]))
    for key in ("down_bytes", "up_bytes", "energy_j"):
        assert sum(told["costs"][phase][key] for phase in ("federation", "ending")) == pytest.approx(total[key])
    trained = [v for v in visits if v["kind"] == "train.federated"]
    assert sum(found["up_bytes"] for found in told["rounds"]) == sum(v["up_bytes"] for v in trained) > 10**6
    assert told["settings"]["rounds"] == len(told["rounds"]) == 3
    assert (out / "global.safetensors").is_file()
