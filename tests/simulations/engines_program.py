"""One fleet on every engine that needs Ray, one after the other, in a process of its own: Ray leaves much behind.

Arguments: a folder, and the fleet's settings as JSON. It ends with an error where anything is not as it should be.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

import pytest
import ray
from ray.cluster_utils import Cluster

from simulations.engine import run_fleet
from simulations.executors import dispatch
from simulations.executors.executor import Done
from simulations.executors.ray_workers import RayWorkers
from simulations.settings import build_settings
from tests.simulations.jobs import FUNCTIONS, run
from tinytrain_core.errors import FleetError


def simulate(out: str, **settings: Any) -> None:
    run_fleet(build_settings(json.loads(sys.argv[2]) | settings), Path(sys.argv[1]) / out, lambda *_: None)


def jobs_on_actors(workers: RayWorkers) -> None:
    """What every executor does."""
    workers.publish("a", bytes([1, 2]))
    found = run(workers, [("total", 0), ("divide", 2), ("divide", 0)], ("a",))
    assert found == {0: Done(0, 3), 1: Done(1, 0.5), 2: Done(2, error="ZeroDivisionError")}, found
    workers.withdraw("a")
    found = run(workers, [("exits", number) for number in range(20)])
    assert [number for number, done in found.items() if done.died] == [19], found
    assert all(done == Done(number, number) for number, done in found.items() if not done.died)


def actors_that_cannot_start() -> None:
    dispatch.STARTS = 1  # each takes seconds
    begin = pytest.raises(FleetError, match="before they could begin")
    with RayWorkers("tests.simulations.nowhere:function", None) as workers, begin:
        run(workers, [0])


def on_a_ray_of_its_own() -> None:
    with RayWorkers(f"{FUNCTIONS}:by_name", 1) as workers:
        jobs_on_actors(workers)
        workers._pool.close()  # which frees the core
        actors_that_cannot_start()
        simulate("ray", engine="ray", workers=1)
        assert ray.is_initialized()  # it was there before the others
    assert not ray.is_initialized()


def on_two_machines() -> None:
    machine = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 128 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=machine | {"include_dashboard": False})
    cluster.add_node(**machine)
    simulate("cluster", engine="ray", ray_address=cluster.address)
    assert not ray.is_initialized()
    cluster.shutdown()


if __name__ == "__main__":
    on_a_ray_of_its_own()
    on_two_machines()
    os.environ["RAY_ADDRESS"] = "127.0.0.1:1"  # a cluster that is no affair of this engine
    simulate("flower", engine="flower", workers=1)
