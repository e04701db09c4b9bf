"""`tinytrain_deep`: our own variant of TinyTrain, which spends the same budget on depth.

Most of a budget of 15 % pays for dL/dx on its way to the earliest chosen layer. Three things make it go further:

- steps take the prototypes as constants, so that half of the images need no way back, and the same MACs reach deeper;
- the way back goes as deep as a share of the budget allows, whatever the score, which prefers cheap late layers;
- the biases of every layer on that way are trained: their gradients are sums of what passes anyway.

What is left pays for channels by TinyTrain's score. A device that cannot pay the way back of even one block does as
TinyTrain does.
"""

from dataclasses import dataclass
from typing import ClassVar

from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.engine.update import Update, biases, extent_of
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.criterion import try_plan
from tinytrain_core.selection.methods.base import Problem
from tinytrain_core.selection.methods.tinytrain import PROTOTYPES, WINDOW_BLOCKS, TinyTrain
from tinytrain_core.selection.plan import Inspection, UpdatePlan

CHAIN_SHARE = 0.7


@dataclass(frozen=True)
class TinyTrainDeep(TinyTrain):
    """TinyTrain with a way back as deep as the compute allows.

    Attributes:
        chain_share: of the budget of backward MACs, that the way back may take.
    """

    window_blocks: int = 0
    prototypes: str = PROTOTYPES[1]
    chain_share: float = CHAIN_SHARE
    name: ClassVar[str] = "tinytrain_deep"
    number: ClassVar[int] = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.chain_share <= 1:
            raise ConfigurationError(f"{self.name}: a chain_share of {self.chain_share:g}, not above 0 and at most 1")

    def plan(self, problem: Problem) -> UpdatePlan:
        if self.inspection(problem) is not None:
            return super().plan(problem)
        shallow = TinyTrain(WINDOW_BLOCKS, self.ratio, self.channels, self.score, self.selection, self.prototypes)
        return shallow.plan(problem)

    def _base(self, spec: BackboneSpec, start: int) -> dict[int, Update]:
        return {conv.index: biases(conv) for conv in spec.convs[start:]}

    def _affords(self, problem: Problem, inspection: Inspection) -> bool:
        work = self._work(problem)
        base = extent_of(work.spec, self._base(work.spec, inspection.start))
        trial = try_plan(work, {}, problem.budget, inspection, base)
        return trial.fits and trial.backward_macs <= self.chain_share * problem.budget.backward_macs
