"""A whole run: images into memory, phase after phase, the best and the last backbone."""

from dataclasses import dataclass
from pathlib import Path

import torch

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.datasets import ImageSource
from tinytrain_core.fewshot.sources import is_glyphs, join, open_source
from tinytrain_core.meta_training.episodic import EpisodicModel
from tinytrain_core.meta_training.loop import Loop, Model, Progress, Save, Snapshot, as_written
from tinytrain_core.meta_training.mixture import SourceMixture, check_tasks
from tinytrain_core.meta_training.pool import ImagePool, decode_pool
from tinytrain_core.meta_training.settings import (
    EpisodicPhase,
    MetaTrainingSettings,
    SupervisedPhase,
    TrainingData,
)
from tinytrain_core.meta_training.supervised import SupervisedModel
from tinytrain_core.meta_training.validation import Validator

DECODING = "decode"
START = "start"


def open_training_data(data: TrainingData, seed: int) -> ImageSource:
    """The images of one source of the mixture; glyphs as often in each typeface as the settings say."""
    return join([_open(name, data.images_per_face, seed) for name in data.paths])


def _open(name: str, images_per_face: int, seed: int) -> ImageSource:
    if not is_glyphs(name):
        return open_source(name)
    from tinytrain_core.fewshot.glyphs import GlyphSource  # draws with matplotlib, which takes a while to import

    return GlyphSource(name.partition(":")[2] or "train", seed=seed, images_per_face=images_per_face)


def training_device(settings: MetaTrainingSettings) -> torch.device:
    """Where to train.

    Raises:
        ConfigurationError: CUDA is wanted, and there is none.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("device: cuda, but PyTorch sees no CUDA device; use cpu or auto")
    cuda = settings.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")


def open_sources(settings: MetaTrainingSettings) -> list[ImageSource]:
    """The training sources.

    Raises:
        ConfigurationError, DataError: as `open_source`.
    """
    return [open_training_data(data, settings.seed) for data in settings.train]


@dataclass(frozen=True)
class RunData:
    """What a run looks at: the training images, in memory, and the validation tasks."""

    mixture: SourceMixture
    validator: Validator


def _decode(
    settings: MetaTrainingSettings, sources: list[ImageSource], device: torch.device, progress: Progress
) -> SourceMixture:
    pools: list[ImagePool] = []
    for data, source in zip(settings.train, sources, strict=True):

        def show(done: int, total: int, name: str = data.name) -> None:
            progress(f"{DECODING} {name}", done, total, {})

        held = sum(pool.images.numel() for pool in pools if device.type == "cpu")
        pools.append(decode_pool(source, settings.stored, show, held).to(device))
    check_tasks(settings.train, pools, _episodic(settings))  # again: unreadable images have gone
    return SourceMixture(settings.train, tuple(pools), settings.seed)


def _episodic(settings: MetaTrainingSettings) -> list[EpisodicPhase]:
    return [phase for phase in settings.phases if isinstance(phase, EpisodicPhase)]


def read_data(settings: MetaTrainingSettings, progress: Progress) -> RunData:
    """The data of a run, and the certainty that it is enough for all phases.

    Raises:
        ConfigurationError, DataError: the data, or the device, is not there, or not enough.
    """
    torch.set_num_threads(settings.threads)
    device = training_device(settings)
    validator = Validator(settings.validation, settings.seed)
    validator.tasks  # noqa: B018 - what is not enough is found before the decoding, which takes minutes
    sources = open_sources(settings)
    check_tasks(settings.train, sources, _episodic(settings))
    return RunData(_decode(settings, sources, device, progress), validator)


def train_backbone(
    settings: MetaTrainingSettings,
    data: RunData,
    start: Backbone | None,
    out: Path,
    progress: Progress,
    save: Save,
) -> None:
    """Run all phases, continuing from the checkpoints in `out` where there are any.

    Args:
        start: a folded backbone to start from; None starts from random weights.
        save: called after every validation.

    Raises:
        TrainingDivergedError: a loss, gradient or weight is not finite.
        StorageError: a checkpoint cannot be read or written.
    """
    best, model = -1.0, _first_model(settings, start, data.mixture)
    if start is not None and not any(out.glob("phase-*.pt")):
        best = _validate_start(start, data.validator, save)
    for number, phase in enumerate(settings.phases, 1):
        if isinstance(phase, EpisodicPhase) and isinstance(model, SupervisedModel):
            model = EpisodicModel(model.snapshot(), data.mixture)
        loop = Loop(phase, number, settings.checkpoint_every, out, data.validator, progress, save, best)
        best = loop.run(model)


def _validate_start(start: Backbone, validator: Validator, save: Save) -> float:
    """The start counts as a candidate, so that the best is never worse than it."""
    backbone = as_written(start)
    validation = validator(backbone)
    save(Snapshot(backbone, validation, START, 0, is_best=True))
    return validation.mean


def _first_model(settings: MetaTrainingSettings, start: Backbone | None, mixture: SourceMixture) -> Model:
    if isinstance(settings.phases[0], SupervisedPhase):
        return SupervisedModel(settings, mixture)
    if start is None:
        start = SupervisedModel(settings, mixture).snapshot()
    return EpisodicModel(start, mixture)
