"""One tiny fleet on every engine: the same reports, to the byte, and what becomes of it when somebody is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulations.engine import run_fleet
from simulations.flower_engine import check_timeless
from simulations.settings import FleetSettings, build_settings, load_settings
from tests.conftest import random_backbone
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import to_bytes
from tinytrain_core.errors import ConfigurationError

LIMIT_S = 300.0
SAME = ("reports.jsonl", "visits.jsonl")
TINY = {
    "devices": 5,
    "mix": {"stm32h743": 3, "jetson_nano": 2},
    "min_ways": 2,
    "max_ways": 3,
    "shots": 2,
    "holdout": 2,
    "steps": 2,
    "views": 1,
    "workers": 2,
}
PROGRAM = """
import json, sys
from pathlib import Path
from simulations.engine import run_fleet
from simulations.settings import build_settings

if __name__ == "__main__":
    run_fleet(build_settings(json.loads(sys.argv[2])), Path(sys.argv[1]), lambda *_: None, resume=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a backbone."""
    folder = tmp_path_factory.mktemp("engines")
    (folder / "backbone.safetensors").write_bytes(to_bytes(random_backbone(load_spec("mcunet-5fps"))))
    return folder


def fleet(place: Path, **settings: object) -> dict[str, object]:
    return TINY | {"backbone": str(place / "backbone.safetensors")} | settings


def start(place: Path, command: list[str], out: Path, **settings: object) -> subprocess.Popen[str]:
    """Start a program on the fleet in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FLWR")}
    environment["PYTHONPATH"] = str(Path.cwd())
    whole = [sys.executable, *command, str(out), json.dumps(fleet(place, **settings))]
    return subprocess.Popen(whole, cwd=place, env=environment, stderr=subprocess.PIPE, text=True)


def simulate(place: Path, out: str, **settings: object) -> Path:
    run_fleet(build_settings(fleet(place, **settings)), place / out, lambda *_: None, resume=True)
    return place / out


@pytest.fixture(scope="module")
def one_worker(place: Path) -> Path:
    return simulate(place, "one", workers=1)


@pytest.fixture(scope="module")
def on_rays(place: Path) -> Path:
    """A folder of runs: on a Ray of its own, on a cluster of two machines, and on Flower's engine."""
    process = start(place, ["-m", "tests.simulations.engines_program"], place)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors
    return place


def same(first: Path, second: Path) -> list[bool]:
    return [(first / name).read_bytes() == (second / name).read_bytes() for name in SAME]


def test_a_ray_of_its_own_gives_the_same(on_rays: Path, one_worker: Path) -> None:
    assert all(same(on_rays / "ray", one_worker))
    account = json.loads((on_rays / "ray" / "simulation.json").read_text())
    assert (account["engine"], account["workers"], account["messages"]) == ("ray", 1, 6)


def test_a_cluster_of_two_machines_gives_the_same(on_rays: Path, one_worker: Path) -> None:
    assert all(same(on_rays / "cluster", one_worker))
    assert json.loads((on_rays / "cluster" / "simulation.json").read_text())["workers"] == 2


def test_the_engine_of_flower_gives_the_same_reports(on_rays: Path, one_worker: Path) -> None:
    flower = on_rays / "flower" / "reports.jsonl"
    assert flower.read_bytes() == (one_worker / "reports.jsonl").read_bytes()


def test_a_run_that_was_killed_goes_on_to_the_same_end(place: Path, one_worker: Path) -> None:
    out = place / "killed"
    computed = out / "computed.jsonl"
    process = start(place, ["-c", PROGRAM], out, workers=1)
    end_s = time.monotonic() + LIMIT_S
    while not computed.is_file() or computed.read_bytes().count(b"\n") < 4:  # 3 nodes are asked, then they train
        assert time.monotonic() < end_s
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    before = computed.read_bytes()
    assert before.count(b"\n") < 6
    kept = sorted(file.relative_to(out) for file in out.glob("stores/*/backbones/*"))
    assert kept
    simulate(place, "killed", workers=2)
    assert all(same(out, one_worker))
    assert (out / "run.json").read_text().replace(str(out), str(one_worker)) == (one_worker / "run.json").read_text()
    assert not computed.exists()


def test_each_backbone_is_on_the_disk_once(one_worker: Path) -> None:
    files = list(one_worker.glob("stores/*/backbones/*.safetensors"))
    assert len(files) == 3
    assert len({file.stat().st_ino for file in files}) == 1


def test_the_account_of_a_run(one_worker: Path) -> None:
    visits = [json.loads(line) for line in (one_worker / "visits.jsonl").read_text().splitlines()]
    assert [visit["node"] for visit in visits] == [0, 0, 1, 1, 2, 2]
    trained = [visit for visit in visits if visit["kind"] == "train.personalise"]
    assert [len(visit["works"]) for visit in trained] == [1, 1, 3]
    assert all(visit["down_bytes"] > 900_000 for visit in trained)
    assert len((one_worker / "nodes.jsonl").read_text().splitlines()) == 3
    account = json.loads((one_worker / "simulation.json").read_text())
    assert (account["messages"], account["incidents"]) == (6, {})
    assert account["virtual_s"] > max(work["time_s"] for visit in trained for work in visit["works"])


def test_the_engine_of_flower_refuses_what_needs_a_time(tmp_path: Path) -> None:
    settings = load_settings(None, {"engine": "flower", "faults": {"drop_out": 0.5}})
    with pytest.raises(ConfigurationError, match="cannot simulate faults; use engine workers or ray"):
        run_fleet(settings, tmp_path / "out", lambda *_: None)
    assert not (tmp_path / "out").exists()
    check_timeless(FleetSettings.model_validate(settings.model_dump() | {"faults": {}, "spread": {"memory": 0.1}}))
    with pytest.raises(ConfigurationError, match=r"cannot simulate spread\.speed;"):
        check_timeless(FleetSettings.model_validate(settings.model_dump() | {"faults": {}, "spread": {"speed": 0.1}}))
