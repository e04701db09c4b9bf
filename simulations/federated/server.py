"""The ServerApp of federated baselines: the federation, then the plain server that every fleet has."""

from collections.abc import Callable
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.app import run as run_server
from server.clock import Clock
from simulations.engine import server_settings
from simulations.federated.account import Costs, round_costs
from simulations.federated.baseline import Baseline, Finished, OnRound
from simulations.federated.federation import Federation, federate
from simulations.federated.options import START_RANDOM
from simulations.federated.start import start_backbone
from simulations.federated.talk import Talk
from simulations.grid import FleetGrid
from simulations.run_folder import GLOBAL_FILE, RANDOM_FILE
from simulations.settings import FleetSettings
from tinytrain_core.backbones.weights import to_bytes
from tinytrain_core.files import write_file


def make_app(baseline: Baseline, clock: Clock, on_round: OnRound, on_finished: Callable[[Finished], None]) -> ServerApp:
    """The ServerApp on a clock.

    Args:
        on_round: told of each round of the federation as it ends.
        on_finished: told, at the end, what it came to.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        federation = _federation(baseline, grid, clock, on_round)
        for out, learning_rate in baseline.endings.items():
            ending = _ending(baseline, federation, out).model_copy(update={"learning_rate": learning_rate})
            run_server(grid, server_settings(ending, 1, out), lambda *_: None, clock)
        visits = grid.visits if isinstance(grid, FleetGrid) else []
        costs = round_costs(visits, [found.nodes for found in federation.rounds])
        on_finished(Finished(federation.rounds, costs, federation.participants, Costs.of(visits)))

    return app


def _federation(baseline: Baseline, grid: Grid, clock: Clock, on_round: OnRound) -> Federation:
    fleet, federated = baseline.fleet, baseline.federated
    start = start_backbone(federated.start, fleet.backbone, fleet.seed)
    talk = Talk(grid, clock, fleet.deadline_s, baseline.nodes)
    return federate(baseline.method, talk, fleet, federated, start, on_round)


def _ending(baseline: Baseline, federation: Federation, out: Path) -> FleetSettings:
    """The fleet's settings as every device personalises in the end; the backbone that came out is in a file."""
    ending = baseline.method.ending(baseline.fleet, baseline.federated)
    if not baseline.method.federates and baseline.federated.start != START_RANDOM:
        return ending
    file = out / (GLOBAL_FILE if baseline.method.federates else RANDOM_FILE)
    write_file(file, to_bytes(federation.backbone))
    return ending.model_copy(update={"backbone": str(file)})
