"""One measurement of a simulated fleet, in this process."""

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Message
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from benchmarks import noop, plain_client
from client.config import NODES_VARIABLE
from server.results import read_reports
from simulations.account import peak_memory_bytes
from simulations.clock import VirtualClock
from simulations.engine import run_fleet
from simulations.environment import environment
from simulations.executors.workers import Workers
from simulations.grid import FleetGrid, run_server
from simulations.population import NODES, node_configs, write_nodes
from simulations.serving import FUNCTION
from simulations.settings import FleetSettings, build_settings
from simulations.world.world import World
from tinytrain_core.backbones.weights import read_bytes
from tinytrain_core.statistics import Mean

OURS, FLOWER = "ours", "Flower's"
ENGINES = (OURS, FLOWER)
ROUNDS = {OURS: 4, FLOWER: 2}  # the first starts the workers and is not counted
CLASS = "pi_4"
MB = 1e6
METHOD = "tinytrain:window_blocks=2"
Gains = tuple[list[float], list[float]]  # accuracies before and after


@dataclass(frozen=True)
class Messages:
    """No-op messages to every device.

    Attributes:
        seconds: of a warm round, wall time; the fastest of several.
        driver_mb: the largest resident size of the process of the server's side.
    """

    engine: str
    devices: int
    seconds: float
    driver_mb: float

    @property
    def per_s(self) -> float:
        return self.devices / self.seconds


@dataclass(frozen=True)
class Personalised:
    """Devices that personalised.

    Attributes:
        seconds: from the first device's end to the last one's, in which all but those that began together ended.
        counted: how many devices ended in these seconds.
        each_s: seconds of work of single devices where they are known.
        before, after: accuracies.
    """

    engine: str
    devices: int
    workers: int
    seconds: float
    counted: int
    each_s: list[float]
    before: list[float]
    after: list[float]
    driver_mb: float

    @property
    def per_s(self) -> float:
        return self.counted / self.seconds

    @property
    def interval_per_s(self) -> tuple[float, float]:
        """95 %, of devices as a sample of how long one takes; the rate itself where that is not known."""
        found = Mean.of(self.each_s) if self.each_s else None
        if found is None or found.interval is None:
            return self.per_s, self.per_s
        spread = found.interval / found.mean
        return self.per_s / (1 + spread), self.per_s / (1 - spread)


def _driver_mb() -> float:
    return peak_memory_bytes() / MB


@contextmanager
def _quiet_flower() -> Iterator[None]:
    from flwr.supercore.logger import FLOWER_LOGGER

    FLOWER_LOGGER.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _on_flower(server: ServerApp, client: ClientApp, devices: int, workers: int) -> None:
    """Run on Flower's own engine."""
    import ray
    from flwr.simulation import run_simulation

    settings: dict[str, Any] = {"num_cpus": workers, "num_gpus": 0, "include_dashboard": False, "address": "local"}
    settings |= {"log_to_driver": False, "logging_level": logging.CRITICAL, "object_store_memory": 256 * 2**20}
    with _quiet_flower():
        run_simulation(
            server_app=server,
            client_app=client,
            num_supernodes=devices,
            backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": settings},
        )
    ray.shutdown()


def _on_ours(server: Callable[[VirtualClock], ServerApp], client: str, devices: int, workers: int) -> None:
    clock, nodes = VirtualClock(), noop.nodes(devices)
    with Workers(FUNCTION, workers) as executor:
        run_server(server(clock), FleetGrid(nodes, client, World(_fleet(devices), nodes), clock, executor))


def messages_run(engine: str, devices: int, workers: int) -> Messages:
    """No-op messages to so many devices, some rounds of them."""
    rounds: list[float] = []

    def on_round(number: int, seconds: float, replies: list[Message]) -> None:
        answered = sum(reply.has_content() for reply in replies)
        assert answered == devices, f"{answered} of {devices} answered"
        rounds.append(seconds)

    if engine == OURS:
        _on_ours(
            lambda clock: noop.server_app(devices, ROUNDS[engine], on_round, clock=clock), noop.CLIENT, devices, workers
        )
    else:
        _on_flower(noop.server_app(devices, ROUNDS[engine], on_round), noop.app, devices, workers)
    return Messages(engine, devices, min(rounds[1:]), _driver_mb())


def _fleet(devices: int, **more: Any) -> FleetSettings:
    return build_settings({"devices": devices, "mix": {CLASS: 1}, "data": "glyphs", "method": METHOD} | more)


def ours_run(devices: int, workers: int) -> Personalised:
    """So many devices of `tinytrain-sim fleet`."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run_fleet(_fleet(devices, workers=workers), out, lambda *_: ends.append(time.monotonic()))
        reports = read_reports(out)
    gains = [r.accuracy_before for r in reports], [r.accuracy_after for r in reports]
    return _personalised(OURS, workers, ends, [], gains)


def plain_run(devices: int, workers: int) -> Personalised:
    """So many of the same devices with the plain client on Flower's engine."""
    ends: list[float] = []
    results: list[dict[str, float]] = []

    def on_result(at_s: float, result: dict[str, float]) -> None:
        ends.append(at_s)
        results.append(result)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        write_nodes(node_configs(_fleet(devices), out), out)
        with environment({NODES_VARIABLE: str(out / NODES)} | {"OMP_NUM_THREADS": "1"}):
            server = plain_client.plain_server(read_bytes(""), devices, on_result)
            _on_flower(server, plain_client.app, devices, workers)
    gains = [r["before"] for r in results], [r["after"] for r in results]
    return _personalised(FLOWER, workers, ends, [r["seconds"] for r in results], gains)


def _personalised(engine: str, workers: int, ends: list[float], each_s: list[float], gains: Gains) -> Personalised:
    counted = len(ends) - workers  # the first of each worker began with it
    seconds = ends[-1] - ends[workers - 1]
    return Personalised(engine, len(ends), workers, seconds, counted, each_s, *gains, _driver_mb())
