"""Supervised pre-training: every class of every source under one linear classifier, with BatchNorm.

A plain classifier's features are a strong start for nearest-prototype tasks (Chen et al. 2021, "Meta-Baseline").
"""

from typing import Any

import torch
from torch import Tensor, nn

from tinytrain_core.backbones.folding import Backbone, fold
from tinytrain_core.backbones.network import NormNetwork
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.meta_training.mixture import SourceMixture, bfloat16_on_cuda
from tinytrain_core.meta_training.settings import MetaTrainingSettings, SupervisedPhase
from tinytrain_core.seeds import Draw, torch_generator


def _initialise(settings: MetaTrainingSettings, classes: int) -> tuple[NormNetwork, nn.Linear]:
    """Random weights that depend on the seed alone; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_generator(settings.seed, Draw.INITIALISATION).initial_seed())
        network = NormNetwork(load_spec(settings.backbone))
        return network, nn.Linear(network.spec.feature_dim, classes)


class SupervisedModel:
    """The trainable network of the supervised phases, which hand it on to each other."""

    def __init__(self, settings: MetaTrainingSettings, mixture: SourceMixture) -> None:
        self.network, self.classifier = _initialise(settings, mixture.classes)
        self.parts: dict[str, nn.Module] = {"network": self.network, "classifier": self.classifier}
        self._mixture = mixture
        self.network.to(mixture.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classifier.to(mixture.device)

    def optimiser(self, phase: SupervisedPhase) -> torch.optim.Optimizer:
        """AdamW; neither biases nor BatchNorm decay."""
        parameters = [p for part in self.parts.values() for p in part.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, phase.learning_rate, weight_decay=phase.weight_decay)

    def loss(self, phase: SupervisedPhase, number: int, step: int) -> Tensor:
        """The loss of one batch."""
        self.network.train()
        resolution = phase.resolution or self.network.spec.resolution
        images, labels = self._mixture.batch(number, step, phase.batch, resolution, phase.weights)
        with bfloat16_on_cuda(images.device):
            features = self.network(images)
        logits = self.classifier(features.float())
        return nn.functional.cross_entropy(logits, labels, label_smoothing=phase.label_smoothing)

    def snapshot(self) -> Backbone:
        """The network as it is now, folded, on the CPU."""
        return fold(self.network).on(torch.device("cpu"))
