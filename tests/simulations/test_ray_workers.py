"""What there is to say of Ray before it runs; `test_engines.py` has the rest, on one Ray for all of it."""

import pytest

from simulations.executors.ray_workers import RayWorkers
from tinytrain_core.errors import FleetError


def test_a_cluster_that_is_not_there_is_an_error_that_says_so() -> None:
    with (
        pytest.raises(FleetError, match=r"no Ray cluster at 127\.0\.0\.1:1: .*ray start --head"),
        RayWorkers("tests.simulations.jobs:double", None, "127.0.0.1:1"),
    ):
        pass
