"""Episodic meta-training: ProtoNet with cosine similarity and a learned scale (Snell et al. 2017; PMF).

It works on the folded network, which is what a device fine-tunes: there is no BatchNorm to be frozen.
PMF's learned bias on the cosine is left out: it adds the same to every logit, and so nothing to the softmax.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.fewshot.prototypes import prototype_loss
from tinytrain_core.meta_training.mixture import SourceMixture, bfloat16_on_cuda
from tinytrain_core.meta_training.settings import EpisodicPhase

MOMENTUM = 0.9


class _FoldedParameters(nn.Module):
    """A copy of a folded backbone and its head's scale as parameters."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.weights = nn.ParameterList(w.clone() for w in backbone.weights)
        self.biases = nn.ParameterList(b.clone() for b in backbone.biases)
        self.scale = nn.Parameter(torch.tensor(backbone.head_scale))


class EpisodicModel:
    """The trainable folded network of the episodic phases, which hand it on to each other."""

    def __init__(self, backbone: Backbone, mixture: SourceMixture) -> None:
        self._spec = backbone.spec
        self._mixture = mixture
        self._folded = _FoldedParameters(backbone.on(torch.device("cpu"))).to(mixture.device)
        self.parts: dict[str, nn.Module] = {"folded": self._folded}

    def _trained(self, phase: EpisodicPhase) -> list[nn.Parameter]:
        chosen = [c.index for c in self._spec.convs if phase.layers == "all" or c.kind == phase.layers]
        return [p for i in chosen for p in (self._folded.weights[i], self._folded.biases[i])]

    def optimiser(self, phase: EpisodicPhase) -> torch.optim.Optimizer:
        """SGD with momentum or Adam over the phase's layers and the scale; all else stays as it is."""
        trained = self._trained(phase)
        wanted = {id(p) for p in (*trained, self._folded.scale)}
        for parameter in self._folded.parameters():
            parameter.requires_grad_(id(parameter) in wanted)
        groups: list[dict[str, Any]] = [
            {"params": trained},
            {"params": [self._folded.scale], "lr": phase.scale_learning_rate},
        ]
        if phase.optimiser == "sgd":
            return torch.optim.SGD(groups, phase.learning_rate, momentum=MOMENTUM)
        return torch.optim.Adam(groups, phase.learning_rate)

    def _backbone(self) -> Backbone:
        return Backbone(self._spec, tuple(self._folded.weights), tuple(self._folded.biases))

    def loss(self, phase: EpisodicPhase, number: int, step: int) -> Tensor:
        """The loss of one task."""
        task = self._mixture.task(number, step, phase, phase.resolution or self._spec.resolution)
        images = torch.cat([task.support, task.query])
        with bfloat16_on_cuda(images.device):
            embeddings = self._backbone().embed(images)
        support, query = embeddings.float().split([len(task.support), len(task.query)])
        scale = self._folded.scale
        return prototype_loss(support, task.support_labels, query, task.query_labels, task.ways, scale)

    def snapshot(self) -> Backbone:
        """The network as it is now, on the CPU."""
        folded = self._folded
        weights = tuple(w.detach().cpu().clone() for w in folded.weights)
        biases = tuple(b.detach().cpu().clone() for b in folded.biases)
        return Backbone(self._spec, weights, biases, float(folded.scale.detach()))
