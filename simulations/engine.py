"""Runs a fleet on Flower's simulation engine: the very apps that real servers and devices run.

The one module here that imports `flwr`, and it does so late: Flower reads its environment when imported.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from client.config import NODES_VARIABLE
from server.config import MAX_DEADLINE_S, RunSettings
from server.exchange import OnReports
from server.results import REPORTS_FILE
from simulations.population import NODES
from simulations.run_folder import set_up
from simulations.settings import FleetSettings
from tinytrain_core import wire
from tinytrain_core.errors import FleetError, TinyTrainError
from tinytrain_core.flower import FLOWER_QUIET

OBJECT_STORE_BYTES = 256 * 2**20  # a message holds one backbone; Ray would take a third of the machine
SHARED = ("backbone", "rounds", *wire.REQUESTED)  # with the server
QUIET = FLOWER_QUIET | {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # sums in one order, whatever the machine


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and leave the environment as it was, Flower's own changes included."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _quiet_flower() -> Iterator[None]:
    """Let Flower log errors only: its Python entry point is deprecated in favour of `flwr run`, knowingly.

    `flwr run` gives every run a process and a SuperLink of its own, which a study of many fleets cannot use.
    """
    from flwr.supercore.logger import FLOWER_LOGGER as logger  # whose import sets its level

    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves pipes of its processes open
            yield
    finally:
        logger.setLevel(level)


def server_settings(settings: FleetSettings, nodes: int, out: Path) -> RunSettings:
    """What the server is asked for. A node that waits for a free worker is not late, hence the longer deadline."""
    shared = {key: getattr(settings, key) for key in SHARED}
    deadline_s = min(settings.deadline_s * ceil(nodes / settings.workers), MAX_DEADLINE_S)
    return RunSettings(**shared, deadline_s=deadline_s, min_nodes=nodes, out=str(out))


def _simulate(server: RunSettings, nodes: int, workers: int, on_reports: OnReports) -> None:
    import ray
    from flwr.simulation import run_simulation

    from client.app import app as client_app
    from server.app import make_app

    ray_settings: dict[str, Any] = {
        "num_cpus": workers,
        "num_gpus": 0,
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    if not os.environ.get("RAY_ADDRESS"):
        ray_settings["address"] = "local"  # never a cluster that somebody else's files point to
    try:
        run_simulation(
            server_app=make_app(server, on_reports),
            client_app=client_app,
            num_supernodes=nodes,
            backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": ray_settings},
        )
    finally:
        if ray.is_initialized():
            ray.shutdown()


def run_fleet(settings: FleetSettings, out: Path, on_reports: OnReports, command: str = "") -> Path:
    """Simulate a fleet; its results are in `out`.

    Args:
        on_reports: told of progress, from another thread.
        command: what to record as the command that made the run.

    Returns:
        The file with one report a line.

    Raises:
        ConfigurationError, DataError, BackboneError: found before anything is started.
        FleetError: the engine failed, or there was not one report.
    """
    nodes = len(set_up(out, settings, command))
    server = server_settings(settings, nodes, out)
    try:
        with _environment(QUIET | ONE_THREAD | {NODES_VARIABLE: str((out / NODES).resolve())}), _quiet_flower():
            _simulate(server, nodes, settings.workers, on_reports)
    except TinyTrainError:
        raise
    except Exception as error:
        raise FleetError(f"Flower's simulation engine failed after {nodes} nodes were set up: {error}") from error
    return out / REPORTS_FILE
