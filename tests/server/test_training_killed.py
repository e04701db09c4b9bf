"""A meta-training that is killed, or runs out of disk, goes on to the bytes of one that is left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from server.backbones.training import load_training_settings, meta_train
from tests.training import EPISODIC, SUPERVISED, ignore, run_keys

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and limits")
STEPS = 24
MAIN = "from server.cli import main; main()"
LIMITED = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000,) * 2); {MAIN}"
CONFIG, OUT = "run.yaml", "out"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a configuration."""
    phases = [{**phase, "steps": STEPS, "validate_every": 15} for phase in (SUPERVISED, EPISODIC)]
    keys = run_keys(tmp_path, backbone="mcunet-5fps", checkpoint_every=1, phases=phases)
    (tmp_path / CONFIG).write_text(yaml.safe_dump(keys), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(code: str = MAIN) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"}
    command = [sys.executable, "-c", code, "meta-train", CONFIG, "--out", OUT]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill_once_there_is(file: Path) -> int:
    """Start a run and kill it when a checkpoint is there; the step of that checkpoint."""
    with start() as process:
        while not file.exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    return int(torch.load(file, weights_only=True)["step"])


def run(code: str = MAIN) -> tuple[int, str]:
    with start(code) as process:
        printed = process.communicate()[1]
    return process.returncode, printed


def test_kill_9_and_a_full_disk_cost_no_more_than_time(folder: Path) -> None:
    out, whole = folder / OUT, folder / "whole"
    supervised, episodic = out / "phase-1-supervised.pt", out / "phase-2-episodic.pt"

    assert 1 <= kill_once_there_is(supervised) < STEPS
    before = supervised.read_bytes()
    code, printed = run(LIMITED)
    assert (code, supervised.read_bytes()) == (7, before)
    assert f"{OUT}/{supervised.name} is still that of an earlier step" in printed
    assert "Traceback" not in printed

    assert 1 <= kill_once_there_is(episodic) < STEPS
    code, printed = run()
    assert code == 0, printed
    assert "1-supervised" not in printed  # that phase was over

    meta_train(load_training_settings(Path(CONFIG)), whole, f"tinytrain-server meta-train {CONFIG} --out {OUT}", ignore)
    names = {f"tiny{label}.{kind}" for label in ("", ".last") for kind in ("safetensors", "json")}
    assert names <= {file.name for file in out.iterdir()}
    for name in names:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert not list(out.rglob("*.partial"))
