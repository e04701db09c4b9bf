"""`tinytl`: biases and lite residuals, weights frozen (Cai et al. 2020); `adapter_drop`: without the first of them.

AdapterDrop (Rueckle et al. 2021) leaves the adapters of the first layers out, and with them the way back to these.
"""

from dataclasses import dataclass
from typing import ClassVar

from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.engine.update import biases
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods.base import Method, Problem
from tinytrain_core.selection.plan import UpdatePlan, as_prescribed


def adapted_blocks(spec: BackboneSpec) -> tuple[int, ...]:
    """The blocks that TinyTL puts a lite residual beside: those with an expansion."""
    return tuple(conv.block for conv in spec.convs if conv.opens_block)


def with_branches(spec: BackboneSpec, blocks: tuple[int, ...], first: int) -> UpdatePlan:
    """Lite residuals beside `blocks`, and all biases from convolution `first` on."""
    return as_prescribed(spec, {c.index: biases(c) for c in spec.convs[first:]}, blocks)


@dataclass(frozen=True)
class TinyTL(Method):
    """The paper's TinyTL baseline; its lite residuals begin untrained."""

    name: ClassVar[str] = "tinytl"
    number: ClassVar[int] = 4

    def plan(self, problem: Problem) -> UpdatePlan:
        spec = problem.backbone.spec
        return with_branches(spec, adapted_blocks(spec), 0)


@dataclass(frozen=True)
class AdapterDrop(Method):
    """The paper's AdapterDrop baselines.

    Attributes:
        share: percent of the lite residuals that are left out, from the input on; biases before the first that is left
            stay frozen, so that the backward pass ends there.
    """

    share: int = 50
    name: ClassVar[str] = "adapter_drop"
    number: ClassVar[int] = 5

    def __post_init__(self) -> None:
        if not 0 < self.share < 100:
            raise ConfigurationError(f"adapter_drop: a share of {self.share} % leaves nothing to do; give 1 to 99")

    def plan(self, problem: Problem) -> UpdatePlan:
        spec = problem.backbone.spec
        blocks = adapted_blocks(spec)
        left = blocks[min(round(len(blocks) * self.share / 100), len(blocks) - 1) :]
        return with_branches(spec, left, next(c.index for c in spec.convs if c.block == left[0]))
