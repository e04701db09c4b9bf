"""A method on a fleet, as one run does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from simulations.federated.account import Cost, Costs, Round
from simulations.federated.methods import FederatedMethod, federated_method
from simulations.federated.options import FederatedSettings
from simulations.settings import FleetSettings

OnRound = Callable[[Round], None]


@dataclass(frozen=True)
class Baseline:
    """What a run does.

    Attributes:
        endings: the folder of the results of each last personalisation, and its learning rate: mostly one, and
            several where they are tried.
        nodes: of the fleet.
    """

    fleet: FleetSettings
    federated: FederatedSettings
    endings: Mapping[Path, float]
    nodes: int

    @property
    def method(self) -> type[FederatedMethod]:
        return federated_method(self.federated.method)


@dataclass(frozen=True)
class Finished:
    """What came of it, beside the reports.

    Attributes:
        rounds, round_costs: of the federation; none where there was none.
        participants: how many devices could take part in it, and what the others lacked.
        costs: of all messages of the run.
    """

    rounds: list[Round]
    round_costs: list[Cost]
    participants: Mapping[str, int]
    costs: Costs
