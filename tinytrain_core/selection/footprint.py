"""Which way to execute a pass on a device: the fastest whose memory and storage fit its budget."""

from collections.abc import Callable
from dataclasses import dataclass

from tinytrain_core.engine.execution import Execution, executions, leanest
from tinytrain_core.engine.update import NOTHING, Extent
from tinytrain_core.selection.cost import Budget
from tinytrain_core.selection.live_memory import (
    judging_bytes,
    selection_bytes,
    storage_bytes,
    training_bytes,
)
from tinytrain_core.selection.plan import Inspection
from tinytrain_core.selection.workload import Workload


@dataclass(frozen=True)
class Footprint:
    """A way to execute something, with the bytes that it needs at its worst moment."""

    execution: Execution
    memory_bytes: int
    storage_bytes: int

    def fits(self, budget: Budget) -> bool:
        return self.memory_bytes <= budget.memory_bytes and self.storage_bytes <= budget.storage_bytes


def _fastest(images: int, budget: Budget, footprint: Callable[[Execution], Footprint]) -> Footprint:
    """The first way that fits; where none does, the one that needs the least memory of those that storage allows."""
    ways = []
    for execution in executions(images, budget.storage_bytes > 0):
        found = footprint(execution)
        if found.fits(budget):
            return found
        if found.storage_bytes <= budget.storage_bytes:
            ways.append(found)
    return min(ways, key=lambda way: way.memory_bytes)


def inspection_footprint(work: Workload, start: int, budget: Budget) -> Footprint:
    """How to take the Fisher potential of convolutions `start` to the end."""

    def of(execution: Execution) -> Footprint:
        stored = storage_bytes(work, NOTHING, execution, Inspection(start, execution))
        return Footprint(execution, selection_bytes(work, start, execution), stored)

    return _fastest(work.support, budget, of)


def judging_footprint(work: Workload, budget: Budget) -> Footprint:
    """How to judge the backbone as it is."""
    return _fastest(work.support, budget, lambda e: Footprint(e, judging_bytes(work, NOTHING, e), 0))


def _training(work: Workload, extent: Extent, execution: Execution, inspection: Inspection | None) -> Footprint:
    memory = max(training_bytes(work, extent, execution, inspection), judging_bytes(work, extent, execution))
    return Footprint(execution, memory, storage_bytes(work, extent, execution, inspection))


def training_footprint(work: Workload, extent: Extent, budget: Budget, inspection: Inspection | None) -> Footprint:
    """How to train, and then judge, the update of that `extent` after an inspection."""
    return _fastest(work.step_images, budget, lambda execution: _training(work, extent, execution, inspection))


def least_footprint(work: Workload, extent: Extent, budget: Budget, inspection: Inspection | None) -> Footprint:
    """The way to train with the least memory of those that storage allows: one image alive."""
    ways = [_training(work, extent, execution, inspection) for execution in leanest(budget.storage_bytes > 0)]
    return min((w for w in ways if w.storage_bytes <= budget.storage_bytes), key=lambda way: way.memory_bytes)
