"""What the processes of a simulation find in their environment, and environments that are set for a while."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tinytrain_core.flower import FLOWER_QUIET

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # sums in one order, whatever the machine
RAY_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
WORKER = FLOWER_QUIET | ONE_THREAD


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and leave the environment as it was, others' changes included."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
