"""The method in docs/methods.md, from a file outside the package, in a table and in a fleet of real processes."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.run_folder import read_run
from tests.simulations.test_fleet_run import LIMIT_S, PROGRAM
from tinytrain_core.report import Outcome

DOCS = Path(__file__).parents[2] / "docs" / "methods.md"
TINY_TABLE = ["--trials", "1", "--rates", "0.001", "--steps", "2", "--shots", "2", "--queries", "2"]
TINY_FLEET = ["min_ways=2", "max_ways=3", "shots=2", "holdout=2", "steps=2", "mix={jetson_nano: 1}"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in `folder`, where the documented method is a file."""
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (folder / "last_blocks.py").write_text(code[0])
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FLWR")}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S)


def documented(command: str) -> list[str]:
    """The arguments of a command in the documentation."""
    text = DOCS.read_text().replace("\\\n", " ")
    return next(line.split()[1:] for line in text.splitlines() if line.startswith(f"tinytrain-sim {command}"))


def test_a_row_of_the_table(tmp_path: Path) -> None:
    done = run(tmp_path, *documented("table1"), *TINY_TABLE)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "runs" / "mine" / "trials.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"none", "tinytrain", "last_blocks:blocks=2"}
    assert rows["last_blocks:blocks=2"]["outcome"] in ("adapted", "kept_base")
    assert int(rows["last_blocks:blocks=2"]["updated_weights"]) > 0
    assert "last_blocks:blocks=2" in done.stdout


def test_a_fleet(tmp_path: Path) -> None:
    overrides = [part for setting in TINY_FLEET for part in ("-o", setting)]
    done = run(tmp_path, *documented("fleet"), "--devices", "2", *overrides, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    reports = read_run(tmp_path / "runs" / "mine-fleet").reports
    assert [report.method for report in reports] == [50, 50]
    assert all(report.outcome in (Outcome.ADAPTED, Outcome.KEPT_BASE) for report in reports)


@pytest.mark.parametrize("command", ["table1", "fleet"])
def test_without_its_file_it_is_unknown(tmp_path: Path, command: str) -> None:
    flag = "--methods" if command == "table1" else "--method"
    done = run(tmp_path, command, flag, "last_blocks", "--out", "out")
    assert done.returncode == 2
    assert "unknown method 'last_blocks'" in done.stderr
    assert not (tmp_path / "out").exists()
