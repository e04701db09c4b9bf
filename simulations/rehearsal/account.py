"""What each node has cost in a rehearsal: bytes over the air, and the energy of computing."""

from collections import Counter
from dataclasses import dataclass, field

from simulations.world.visit import Visit


@dataclass(slots=True)
class Cost:
    """One node's, so far. Bytes are those over the air, with what was lost and sent again."""

    messages: int = 0
    down_bytes: int = 0
    up_bytes: int = 0
    energy_j: float = 0.0
    works: int = 0

    def add(self, visit: Visit) -> None:
        """One way of a message, or one work."""
        self.down_bytes += visit.down_bytes
        self.up_bytes += visit.up_bytes
        self.energy_j += sum(work.energy_j for work in visit.works)
        self.works += len(visit.works)


@dataclass
class Account:
    """All nodes', by partition id, and how often what went wrong in the world."""

    nodes: list[Cost]
    causes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, nodes: int) -> "Account":
        """Of so many nodes that have done nothing yet."""
        return cls([Cost() for _ in range(nodes)])

    def add(self, visit: Visit) -> Visit:
        """Write a visit down; the visit."""
        self.nodes[visit.node].add(visit)
        if visit.cause:
            self.causes[visit.cause] += 1
        return visit

    def total(self) -> Cost:
        """Of the whole fleet."""
        whole = Cost()
        for cost in self.nodes:
            whole.messages += cost.messages
            whole.down_bytes += cost.down_bytes
            whole.up_bytes += cost.up_bytes
            whole.energy_j += cost.energy_j
            whole.works += cost.works
        return whole
