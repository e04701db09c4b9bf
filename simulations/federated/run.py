"""One baseline on a fleet, from settings to a run's folder; Flower is imported late, as the engine does."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.config import NodeConfig
from server.exchange import OnReports
from server.results import RUN_FILE
from simulations.clock import VirtualClock
from simulations.engine import OnComputed, Progress, simulate
from simulations.federated.baseline import Baseline, Finished, OnRound
from simulations.federated.lifted import LiftedNodes
from simulations.federated.options import FederatedSettings
from simulations.run_folder import FLEET_FILE, set_up
from simulations.settings import FleetSettings
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.files import write_file

if TYPE_CHECKING:
    from flwr.serverapp import ServerApp

CLIENT = "simulations.federated.client:app"
KEY = "federated"  # in fleet.json and run.json


def _ignore(*_: object) -> None:
    """Whoever is not asked for progress."""


def check_engine(fleet: FleetSettings) -> None:
    """Make sure that the engine has what a federation needs of it.

    Raises:
        ConfigurationError: it has not.
    """
    if fleet.engine == "flower":
        raise ConfigurationError(
            "federated baselines need virtual time and node state: set engine=workers or engine=ray"
        )


def run_baseline(
    baseline: Baseline,
    nodes: Sequence[NodeConfig],
    out: Path,
    on_round: OnRound = _ignore,
    on_computed: OnComputed = _ignore,
) -> Finished:
    """The federation and the last personalisations; the engine's account is in `out`.

    Raises:
        FleetError: there was not one report, or no worker can be started.
    """
    found: list[Finished] = []

    def make_server(clock: VirtualClock) -> "ServerApp":
        from simulations.federated.server import make_app

        return make_app(baseline, clock, on_round, found.append)

    held = nodes if baseline.federated.respect_budgets else LiftedNodes(nodes)
    simulate(baseline.fleet, held, out, CLIENT, make_server, on_computed)
    return found[0]


def _add(file: Path, content: Mapping[str, Any]) -> None:
    """Put `content` under the key of federated runs into a JSON file that is there."""
    whole = json.loads(file.read_bytes())
    write_file(file, (json.dumps(whole | {KEY: content}, indent=2) + "\n").encode())


def run_federated(
    fleet: FleetSettings,
    federated: FederatedSettings,
    out: Path,
    command: str,
    tuning: Mapping[str, Any] | None = None,
    on_round: OnRound = _ignore,
    on_reports: OnReports = _ignore,
) -> Finished:
    """A baseline on a fleet; its results are in `out`, in the form of every simulated run.

    Args:
        command: what to record as the command that made the run.
        tuning: what was tried to choose the learning rates, to be recorded.
        on_round: told of each round of the federation.
        on_reports: told of devices as their last personalisation is computed.

    Raises:
        ConfigurationError, DataError, BackboneError: found before anything is started.
        FleetError: there was not one report.
    """
    baseline = Baseline(fleet, federated, {out: fleet.learning_rate}, 0)
    nodes = set_up(out, baseline.method.ending(fleet, federated), command)
    asked = federated.model_dump(mode="json")
    _add(out / FLEET_FILE, asked)
    baseline = Baseline(fleet, federated, {out: fleet.learning_rate}, len(nodes))
    done = run_baseline(baseline, nodes, out, on_round, Progress(nodes, fleet, on_reports).computed)
    _add(out / RUN_FILE, {"settings": asked, "tuning": tuning} | _summary(done))
    return done


def _summary(done: Finished) -> dict[str, Any]:
    rounds = [found.summary() | cost.summary() for found, cost in zip(done.rounds, done.round_costs, strict=True)]
    return {"participants": dict(done.participants), "rounds": rounds, "costs": done.costs.summary()}
