"""The same fleet on Flower's own simulation engine, which knows no virtual time: a conformance test of the same apps.

Flower is imported late: it reads its environment when it is imported.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path

from client.config import NODES_VARIABLE
from server.config import MAX_DEADLINE_S, RunSettings
from server.exchange import OnReports
from simulations.environment import RAY_QUIET, WORKER, environment
from simulations.executors.ray_settings import LOCAL
from simulations.population import NODES
from simulations.settings import FleetSettings
from tinytrain_core.errors import ConfigurationError, FleetError, TinyTrainError

ENGINE = "flower"
TIMELESS = ("availability", "links", "power", "faults")  # sections of the settings that it cannot simulate
TIMELESS_SPREAD = ("speed", "power")  # and what it cannot of the section `spread`


@contextmanager
def quiet_flower() -> Iterator[None]:
    """Let Flower log next to nothing, nor warn that its Python entry point is deprecated in favour of `flwr run`.

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


def check_timeless(settings: FleetSettings) -> None:
    """Make sure that nothing is asked for that needs a world with a time.

    Raises:
        ConfigurationError: a section does.
    """
    on = [name for name in TIMELESS if getattr(settings, name) != FleetSettings.model_fields[name].default]
    on += [f"spread.{name}" for name in TIMELESS_SPREAD if getattr(settings.spread, name)]
    if on:
        raise ConfigurationError(
            f"engine {ENGINE} has no virtual time and cannot simulate {', '.join(on)}; "
            "use engine workers or ray, or leave these settings out"
        )


def _real_time(server: RunSettings, nodes: int, workers: int) -> RunSettings:
    """A node that waits for a free worker is not late, hence the longer deadline."""
    return server.model_copy(update={"deadline_s": min(server.deadline_s * ceil(nodes / workers), MAX_DEADLINE_S)})


def _simulate(server: RunSettings, nodes: int, workers: int, on_reports: OnReports) -> None:
    import ray
    from flwr.simulation import run_simulation

    from client.app import app as client_app
    from server.app import make_app

    ray_settings = LOCAL | {"num_cpus": workers, "address": "local"}  # never a cluster, which lacks our environment
    try:
        run_simulation(
            server_app=make_app(_real_time(server, nodes, workers), on_reports),
            client_app=client_app,
            num_supernodes=nodes,
            backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": ray_settings},
        )
    finally:
        if ray.is_initialized():
            ray.shutdown()


def run_flower(server: RunSettings, nodes: int, workers: int, out: Path, on_reports: OnReports) -> None:
    """Simulate the nodes whose files are in `out`; Ray's processes do the work.

    Args:
        on_reports: told of progress, from another thread.

    Raises:
        TinyTrainError: what the server raises.
        FleetError: the engine failed.
    """
    variables = RAY_QUIET | WORKER | {NODES_VARIABLE: str((out / NODES).resolve())}
    try:
        with environment(variables), quiet_flower():
            _simulate(server, nodes, workers, on_reports)
    except TinyTrainError:
        raise
    except Exception as error:
        raise FleetError(f"Flower's simulation engine failed after {nodes} nodes were set up: {error}") from error
