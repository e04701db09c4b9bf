"""What is measured: one episode on one backbone, and the plans that all arms train."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone, fold
from tinytrain_core.backbones.network import NormNetwork
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import from_bytes, to_bytes
from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.engine.support import Task, Views
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.seeds import torch_generator

WAYS, SHOTS, SEED = 5, 5, 0


@dataclass(frozen=True)
class Case:
    """A backbone with and without its BatchNorm folded, and a support set.

    Attributes:
        network: with BatchNorm, in evaluation mode: what the baselines train.
        backbone: the same, folded: what the engine trains.
    """

    network: NormNetwork
    backbone: Backbone
    task: Task
    settings: TrainingSettings

    @property
    def name(self) -> str:
        return self.backbone.spec.name

    def views(self) -> Views:
        """The views that every arm sees, drawn anew but the same."""
        n, resolution = len(self.task.images), self.backbone.spec.resolution
        pool = min(self.settings.views, self.settings.steps)
        return Views.drawn(pool, n, resolution, self.settings.augmentation, torch_generator(SEED))

    def pixels(self) -> Tensor:
        """The clean support as floats (N, 3, R, R)."""
        return scale_pixels(self.task.images)


def make_case(name: str, steps: int, images: int = WAYS * SHOTS) -> Case:
    """A random network whose statistics fit its random images; neither changes what a step costs."""
    spec = load_spec(name)
    generator = torch_generator(SEED, images)
    patches = torch.randint(0, 256, (images, 3, 8, 8), dtype=torch.uint8, generator=generator)
    size = spec.resolution // 8
    task = Task(patches.repeat_interleave(size, 2).repeat_interleave(size, 3), torch.arange(images) % WAYS, WAYS)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = NormNetwork(spec).train()
        for layer in network.layers:
            layer.norm.momentum = 1.0
        with torch.no_grad():
            network(scale_pixels(task.images[: WAYS * SHOTS]))
    network.eval()
    return Case(network, from_bytes(to_bytes(fold(network))), task, TrainingSettings(steps=steps, learning_rate=1e-4))
