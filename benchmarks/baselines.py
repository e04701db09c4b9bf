"""Two ways to fine-tune with plain PyTorch, as a first client would be written.

Both train the network with BatchNorm in evaluation mode by autograd and torch's Adam, on the loss, the views and the
number of steps that the engine has. They are given their plan: a selection pass is not charged to them.
"""

import copy

import torch
from torch import Tensor

from benchmarks.cases import Case
from tinytrain_core.backbones.network import NormNetwork
from tinytrain_core.fewshot.prototypes import prototype_loss
from tinytrain_core.selection.plan import UpdatePlan


class Naive:
    """Autograd over the whole network, step by step.

    Args:
        plan: what is trained; None is every parameter.
        channels_last: the memory format that PyTorch recommends on CPUs.
    """

    def __init__(self, case: Case, plan: UpdatePlan | None = None, channels_last: bool = False) -> None:
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.case, self.format = case, memory_format
        self.network: NormNetwork = copy.deepcopy(case.network)
        self.network.to(memory_format=memory_format)  # type: ignore[call-overload]
        self.clean = case.pixels().contiguous(memory_format=memory_format)
        self.views = case.views()
        self.pool = [self._shown(number) for number in range(len(self.views.pool))]
        self.masks = {} if plan is None else self._freeze(plan)
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(trained, case.settings.learning_rate)

    def _shown(self, number: int) -> Tensor:
        pixels = self.views.pool[number].apply(self.case.pixels(), 0)
        return pixels.contiguous(memory_format=self.format)

    def _freeze(self, plan: UpdatePlan) -> dict[Tensor, Tensor]:
        """Freeze all but the chosen layers; the channels that are not chosen, by parameter."""
        self.network.requires_grad_(False)
        masks, layers = {}, list(self.network.layers)
        for index, update in plan.updates.items():
            layer = layers[index]
            for parameter in (layer.conv.weight, layer.norm.bias):
                mask = torch.ones(len(parameter), dtype=torch.bool)
                mask[list(update.outputs)] = False
                masks[parameter.requires_grad_()] = mask
        return masks

    def step(self, number: int) -> float:
        """One step; its loss."""
        seen, task = self.views.of_step(number), self.case.task
        query = self.clean if seen.number is None else self.pool[seen.number]
        self.optimiser.zero_grad()
        support, queries = self.network(self.clean), self.network(query)
        scale = self.case.backbone.head_scale
        loss = prototype_loss(support, task.labels, queries, task.labels, task.ways, scale)
        loss.backward()
        for parameter, mask in self.masks.items():
            if parameter.grad is not None:
                parameter.grad[mask] = 0
        self.optimiser.step()
        return float(loss.detach())

    def run(self) -> list[float]:
        """All steps."""
        return [self.step(number) for number in range(self.case.settings.steps)]
