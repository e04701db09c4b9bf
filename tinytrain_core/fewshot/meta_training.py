"""Making a backbone that personalises well, from random initialisation.

Two phases: supervised pre-training with BatchNorm under a cosine classifier (Chen et al. 2019, "Baseline++"),
then, on the folded network, episodic ProtoNet meta-training with a learned scale (Snell et al. 2017; PMF).
What step `i` sees depends on (seed, phase, i) alone, so that a run continued from its checkpoint is the run
that never stopped.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tinytrain_core.backbones.folding import Backbone, fold
from tinytrain_core.backbones.network import NormNetwork
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.checkpoint import Checkpoint
from tinytrain_core.fewshot.datasets import ImageSource
from tinytrain_core.fewshot.episodes import Episode, load_episode, sample_fixed
from tinytrain_core.fewshot.meta_settings import EpisodicSettings, MetaTrainingSettings, PretrainSettings
from tinytrain_core.fewshot.prototypes import accuracy, cosine_logits, prototype_loss
from tinytrain_core.seeds import Draw, generator

Progress = Callable[[str, int, int, float], None]  # phase, step, steps, loss or accuracy


@dataclass(frozen=True)
class _StepBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batch `i` of pre-training: images uint8 (batch, 3, R, R) and class indices (batch,)."""

    source: ImageSource
    settings: PretrainSettings
    seed: int
    start: int

    def __len__(self) -> int:
        return self.settings.steps - self.start

    def __getitem__(self, offset: int) -> tuple[Tensor, Tensor]:
        rng = generator(self.seed, Draw.PRETRAINING, self.start + offset)
        labels = rng.integers(len(self.source.classes), size=self.settings.batch).tolist()
        images = [
            self.source.load(label, int(rng.integers(self.source.classes[label].size)), self.settings.resolution)
            for label in labels
        ]
        return torch.stack(images), torch.tensor(labels)


@dataclass(frozen=True)
class _Episodes(Dataset[Episode]):
    """Task `i` of meta-training or validation."""

    source: ImageSource
    settings: EpisodicSettings
    resolution: int
    seed: int
    draw: Draw
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, offset: int) -> Episode:
        rng = generator(self.seed, self.draw, self.start + offset)
        shape = self.settings
        return load_episode(
            self.source, sample_fixed(self.source, shape.ways, shape.shots, shape.queries, rng), self.resolution
        )


def _batches(dataset: Dataset[Any], workers: int) -> Iterator[Any]:
    return iter(DataLoader(dataset, batch_size=None, shuffle=False, num_workers=workers))


class _CosineClassifier(nn.Module):
    """Logits (N, classes) by cosine to a learned vector for each class, times a learned scale."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(classes, features) * 0.1)
        self.scale = nn.Parameter(torch.tensor(15.0))

    def forward(self, x: Tensor) -> Tensor:
        return cosine_logits(x, self.vectors, self.scale)


def _initialise(settings: MetaTrainingSettings, classes: int) -> tuple[NormNetwork, _CosineClassifier]:
    """Random weights that depend on the seed alone; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = NormNetwork(load_spec(settings.backbone))
        classifier = _CosineClassifier(network.spec.feature_dim, classes)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, classifier


def pretrain(settings: MetaTrainingSettings, source: ImageSource, out: Path, progress: Progress) -> NormNetwork:
    """The first phase. Its last checkpoint is `out/pretrain.pt`."""
    network, classifier = _initialise(settings, len(source.classes))
    phase = settings.pretrain
    parameters = [*network.parameters(), *classifier.parameters()]
    optimiser = torch.optim.AdamW(parameters, phase.learning_rate, weight_decay=phase.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, phase.learning_rate, max(phase.steps, 1), pct_start=0.1)
    parts = {"network": network, "classifier": classifier, "optimiser": optimiser, "schedule": schedule}
    checkpoint = Checkpoint(out / "pretrain.pt", parts)
    start = checkpoint.load()
    batches = _batches(_StepBatches(source, phase, settings.seed, start), settings.workers)
    for step, (images, labels) in enumerate(batches, start + 1):
        loss = nn.functional.cross_entropy(classifier(network(scale_pixels(images))), labels, label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        checkpoint.after(step, phase.steps)
        progress("pretrain", step, phase.steps, float(loss.detach()))
    network.eval()
    return network


class _FoldedParameters(nn.Module):
    """A folded backbone and its head's scale as parameters."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.spec = backbone.spec
        self.weights = nn.ParameterList(backbone.weights)
        self.biases = nn.ParameterList(backbone.biases)
        self.scale = nn.Parameter(torch.tensor(backbone.head_scale))

    def backbone(self) -> Backbone:
        return Backbone(self.spec, tuple(self.weights), tuple(self.biases))

    def frozen(self) -> Backbone:
        weights = tuple(w.detach().clone() for w in self.weights)
        return Backbone(self.spec, weights, tuple(b.detach().clone() for b in self.biases), float(self.scale.detach()))


def _episode_loss(backbone: Backbone, episode: Episode, scale: Tensor) -> Tensor:
    embeddings = backbone.embed(scale_pixels(torch.cat([episode.support, episode.query])))
    support, query = embeddings.split([len(episode.support), len(episode.query)])
    return prototype_loss(support, episode.support_labels, query, episode.query_labels, episode.ways, scale)


def meta_train(
    settings: MetaTrainingSettings, start_from: Backbone, source: ImageSource, out: Path, progress: Progress
) -> Backbone:
    """The second phase. Its last checkpoint is `out/episodic.pt`."""
    model = _FoldedParameters(start_from)
    phase = settings.episodic
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p is not model.scale]},
        {"params": [model.scale], "lr": 10 * phase.learning_rate},
    ]
    optimiser = torch.optim.Adam(groups, phase.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(phase.episodes, 1))
    checkpoint = Checkpoint(out / "episodic.pt", {"model": model, "optimiser": optimiser, "schedule": schedule}, 100)
    first = checkpoint.load()
    resolution = start_from.spec.resolution
    tasks = _Episodes(source, phase, resolution, settings.seed, Draw.EPISODE, first, phase.episodes)
    for step, episode in enumerate(_batches(tasks, settings.workers), first + 1):
        loss = _episode_loss(model.backbone(), episode, model.scale)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        checkpoint.after(step, phase.episodes)
        progress("episodic", step, phase.episodes, float(loss.detach()))
    return model.frozen()


def evaluate(
    backbone: Backbone, source: ImageSource, shape: EpisodicSettings, seed: int, workers: int, progress: Progress
) -> list[float]:
    """Nearest-prototype accuracy of the frozen backbone on each of `shape.validation_episodes` tasks."""
    total = shape.validation_episodes
    tasks = _Episodes(source, shape, backbone.spec.resolution, seed, Draw.VALIDATION, 0, total)
    accuracies = []
    for step, episode in enumerate(_batches(tasks, workers), 1):
        with torch.no_grad():
            support, query = (backbone.embed(scale_pixels(x)) for x in (episode.support, episode.query))
        accuracies.append(accuracy(support, episode.support_labels, query, episode.query_labels, episode.ways))
        progress("validate", step, total, accuracies[-1])
    return accuracies


def make_backbone(
    settings: MetaTrainingSettings, train: ImageSource, validation: ImageSource, out: Path, progress: Progress
) -> tuple[Backbone, list[float]]:
    """Both phases and the validation; continues from the checkpoints in `out` where there are any."""
    torch.set_num_threads(settings.threads)
    out.mkdir(parents=True, exist_ok=True)
    start = fold(pretrain(settings, train, out, progress))
    backbone = meta_train(settings, start, train, out, progress)
    accuracies = evaluate(backbone, validation, settings.episodic, settings.seed, settings.workers, progress)
    return backbone, accuracies
