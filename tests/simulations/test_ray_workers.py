"""Jobs on Ray's actors: what `test_workers.py` asks of processes of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.ray_workers import RayWorkers
from tinytrain_core.errors import FleetError

PROGRAM = """
import sys
from simulations.executor import Done, Job
from simulations.ray_workers import RayWorkers
from tests.simulations.jobs import FUNCTIONS
from tests.simulations.test_workers import run
from tinytrain_core.errors import FleetError

if __name__ == "__main__":
    import ray

    with RayWorkers(f"{FUNCTIONS}:by_name", 1) as workers:
        workers.publish("a", bytes([1, 2]))
        found = run(workers, [("total", 0), ("divide", 2), ("divide", 0)], ("a",))
        assert found == {0: Done(0, 3), 1: Done(1, 0.5), 2: Done(2, error="ZeroDivisionError")}, found
        workers.withdraw("a")
        found = run(workers, [("exits", number) for number in range(25)])
        assert [number for number, done in found.items() if done.died] == [19], found
        assert all(done == Done(number, number) for number, done in found.items() if not done.died)
        workers._pool.close()  # which frees the cores
        with RayWorkers("tests.simulations.nowhere:function", None) as others:
            try:
                run(others, [0])
            except FleetError as error:
                assert "before they could begin" in str(error)
            else:
                raise AssertionError("it could begin")
        assert ray.is_initialized()  # it was there before the others
    assert not ray.is_initialized()
"""


def test_jobs_on_actors(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_a_cluster_that_is_not_there_is_an_error_that_says_so() -> None:
    with (
        pytest.raises(FleetError, match=r"no Ray cluster at 127\.0\.0\.1:1: .*ray start --head"),
        RayWorkers("tests.simulations.jobs:double", None, "127.0.0.1:1"),
    ):
        pass
