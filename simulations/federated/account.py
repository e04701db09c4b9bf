"""What a baseline has cost: bytes over the air, joules and seconds on the devices, by phase and by round."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from simulations.federated.orders import FEDERATED_KINDS, TRAIN_FEDERATED
from simulations.world.visit import Visit


@dataclass
class Round:
    """What became of one round.

    Attributes:
        sent_s: when it began, in virtual seconds since 1970.
        nodes: that were asked, by partition id, each with how many rounds have asked it, this one included.
        devices: that have a part in the mean.
        images: of theirs: the weight of all parts together.
        loss_first, loss_last: of their first and last step, their means weighted by images; 0 where there is none.
        missing: why other nodes have none, and how many.
        failed_devices: that can train, are of a node that answered, and have no part all the same.
    """

    round: int
    sent_s: float = 0.0
    nodes: dict[int, int] = field(default_factory=dict)
    devices: int = 0
    images: int = 0
    loss_first: float = 0.0
    loss_last: float = 0.0
    missing: dict[str, int] = field(default_factory=dict)
    failed_devices: int = 0

    def summary(self) -> dict[str, Any]:
        """For `run.json`."""
        return asdict(self) | {"nodes": sorted(self.nodes)}


@dataclass(frozen=True)
class Cost:
    """Sums over messages; joules and seconds are those of devices that computed, seconds of all of them together."""

    messages: int = 0
    down_bytes: int = 0
    up_bytes: int = 0
    energy_j: float = 0.0
    compute_s: float = 0.0

    @classmethod
    def of(cls, visits: Iterable[Visit]) -> "Cost":
        """Of messages and their answers."""
        counted = list(visits)
        works = [work for visit in counted for work in visit.works]
        return cls(
            len(counted),
            sum(visit.down_bytes for visit in counted),
            sum(visit.up_bytes for visit in counted),
            sum(work.energy_j for work in works),
            sum(work.time_s for work in works),
        )

    def summary(self) -> dict[str, Any]:
        """For `run.json`."""
        return asdict(self)


@dataclass(frozen=True)
class Costs:
    """The federation's cost, the last personalisation's, and both together."""

    federation: Cost
    ending: Cost
    total: Cost

    @classmethod
    def of(cls, visits: Sequence[Visit]) -> "Costs":
        """Of all messages of a run."""
        federation = Cost.of(visit for visit in visits if visit.kind in FEDERATED_KINDS)
        ending = Cost.of(visit for visit in visits if visit.kind not in FEDERATED_KINDS)
        return cls(federation, ending, Cost.of(visits))

    def summary(self) -> dict[str, Any]:
        """For `run.json`."""
        return asdict(self)


def round_costs(visits: Iterable[Visit], asked: Iterable[Mapping[int, int]]) -> list[Cost]:
    """The cost of each round.

    Args:
        asked: for each round, the nodes that it asked, each with the number of that message among the node's own.
    """
    rounds = [dict(nodes) for nodes in asked]
    found: dict[tuple[int, int], int] = {
        (node, number): index for index, nodes in enumerate(rounds) for node, number in nodes.items()
    }
    parts: list[list[Visit]] = [[] for _ in rounds]
    for visit in visits:
        if visit.kind == TRAIN_FEDERATED and (visit.node, visit.number) in found:
            parts[found[visit.node, visit.number]].append(visit)
    return [Cost.of(part) for part in parts]
