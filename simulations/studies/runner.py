"""One unit of a study's work: an arm, at one learning rate, on one task."""

import time
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch

from simulations.studies.arms import Arm
from simulations.studies.study_settings import StudySettings
from simulations.studies.trials import Key, Purpose, Trial
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.engine.settings import LEARNING_RATE, TrainingSettings
from tinytrain_core.errors import DataError, ErrorCode
from tinytrain_core.fewshot.datasets import ImageSource
from tinytrain_core.fewshot.episodes import ClassDraw, Episode, load_episode, sample_fixed, sample_various
from tinytrain_core.fewshot.sources import open_source
from tinytrain_core.personalise import personalise
from tinytrain_core.report import Outcome, PersonalisationReport
from tinytrain_core.seeds import Draw, generator
from tinytrain_core.selection.cost import MIB, Budget, forward_peak_bytes, study_budget

EPISODES = 2  # kept decoded; one of 1000 images of 128 pixels takes 50 MB
DRAWS = {Purpose.VALIDATION: Draw.VALIDATION, Purpose.TEST: Draw.EVALUATION}


@dataclass(frozen=True)
class Unit:
    """What one worker does at a time.

    Attributes:
        rate: 0 where the method does not adapt.
        trial: number of the task, which is the same for every arm, rate and backbone.
    """

    purpose: Purpose
    data: str
    backbone: str
    arm: Arm
    rate: float
    trial: int

    @property
    def key(self) -> Key:
        return Key(self.purpose, self.data, self.backbone, self.arm.training, self.arm.name, self.rate, self.trial)


@dataclass(frozen=True)
class Task:
    """What a task is, before any image is decoded, and the seed of the augmentation of whoever learns from it."""

    draws: list[ClassDraw]
    seed: int


def open_data(settings: StudySettings, purpose: Purpose, data: str) -> ImageSource:
    """The set that a label stands for.

    Raises:
        ConfigurationError, DataError: as `open_source`.
    """
    return open_source((settings.data if purpose is Purpose.TEST else settings.validation)[data])


def draw_task(settings: StudySettings, source: ImageSource, purpose: Purpose, data: str, trial: int) -> Task:
    """The task that (seed, purpose, label of the data, number) name.

    Raises:
        DataError: the data is not enough for it.
    """
    rng = generator(settings.seed, DRAWS[purpose], zlib.crc32(data.encode()), trial)
    seed = int(rng.integers(2**31))
    if not settings.ways:
        return Task(sample_various(source, rng), seed)
    return Task(sample_fixed(source, settings.ways, settings.shots, settings.queries, rng), seed)


def arm_budget(settings: StudySettings, arm: Arm, spec: BackboneSpec) -> Budget:
    """What an arm may spend."""
    share, memory_mib = arm.compute_share or settings.compute_share, arm.memory_mib or settings.memory_mib
    budget = study_budget(spec, share, memory_mib)
    if arm.headroom_mib is None:
        return budget
    return replace(budget, paper_bytes=forward_peak_bytes(spec) + int(arm.headroom_mib * MIB))


def _training(settings: StudySettings, unit: Unit) -> TrainingSettings:
    steps = settings.steps if unit.arm.steps is None else unit.arm.steps
    views = settings.views if unit.arm.views is None else unit.arm.views
    return TrainingSettings(steps=steps, views=views, learning_rate=unit.rate or LEARNING_RATE)


def _layers(report: PersonalisationReport) -> str:
    return " ".join(f"{index}:{count}" for index, count in enumerate(report.updated_channels) if count)


def _report_fields(report: PersonalisationReport) -> dict[str, object]:
    fields = report.model_dump(include=set(Trial.model_fields) - {"method", "outcome", "error"})
    error = ErrorCode(report.error).name.lower() if report.error else ""
    outcome = Outcome(report.outcome).name.lower()
    return fields | {
        "outcome": outcome,
        "error": error,
        "query_images": report.holdout_images,
        "layers": _layers(report),
    }


class Runner:
    """Runs the units of one study, one after the other, in one process."""

    def __init__(self, settings: StudySettings) -> None:
        self._settings = settings
        self._backbone = lru_cache(maxsize=None)(self._read_backbone)
        self._source = lru_cache(maxsize=None)(partial(open_data, settings))
        self._episode = lru_cache(maxsize=EPISODES)(self._load_episode)

    def _read_backbone(self, file: str) -> Backbone:
        return from_bytes(read_bytes(file)).on(torch.device(self._settings.device))

    def _load_episode(self, purpose: Purpose, data: str, trial: int, resolution: int) -> tuple[Episode, int]:
        """A decoded task, and the seed of its augmentation."""
        source = self._source(purpose, data)
        task = draw_task(self._settings, source, purpose, data, trial)
        return load_episode(source, task.draws, resolution), task.seed

    def run(self, unit: Unit) -> Trial:
        """What became of a unit; that there was no task for it, or that training diverged, is a result too.

        Raises:
            ConfigurationError, BackboneError: the study's author can mend it.
        """
        fields = {**unit.key._asdict(), "method": unit.arm.method}
        backbone = self._backbone(self._settings.files(unit.arm.training)[unit.backbone])
        try:
            episode, seed = self._episode(unit.purpose, unit.data, unit.trial, backbone.spec.resolution)
        except DataError as error:
            return Trial(**fields, outcome=Outcome.FAILED.name.lower(), error=error.code.name.lower())
        start_s = time.perf_counter()
        budget, training = arm_budget(self._settings, unit.arm, backbone.spec), _training(self._settings, unit)
        report = personalise(backbone, episode, budget, unit.arm.method, seed, training).report
        seconds = time.perf_counter() - start_s
        return Trial(**(fields | _report_fields(report)), seed=seed, seconds=seconds)
