"""Frozen nearest-prototype accuracy of several backbones on the same tasks, side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from server.backbones.manifest import Accuracy, Sha256
from server.versions import versions
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.published import read_published
from tinytrain_core.backbones.weights import backbone_path, digest, from_bytes, is_backbone_file, read_bytes
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.episodes import ClassDraw, sample_fixed, sample_various
from tinytrain_core.fewshot.frozen import frozen_accuracies
from tinytrain_core.fewshot.sources import open_source
from tinytrain_core.meta_training.settings import TaskShape
from tinytrain_core.seeds import Draw, generator
from tinytrain_core.statistics import paired

VARIOUS = "various ways and shots"
Progress = Callable[[str, int, int, Mapping[str, float]], None]
Tasks = list[list[ClassDraw]]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Model):
    """One backbone on one kind of task.

    Attributes:
        gain, gain_interval: against the first backbone on the same tasks, paired; None for the first itself.
    """

    backbone: str
    data: str
    tasks: str
    accuracy: Accuracy
    gain: float | None = None
    gain_interval: float | None = Field(None, ge=0)


class Evaluation(_Model):
    """All rows, and what makes them again: backbones' digests by label, data by label, the fixed tasks' shape."""

    backbones: Mapping[str, Sha256]
    data: Mapping[str, str]
    shape: TaskShape
    various: bool
    episodes: int
    seed: int
    rows: tuple[Row, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class EvaluationSettings:
    """What is evaluated: data by label, the shape of the fixed tasks, and whether various ones are drawn too."""

    data: Mapping[str, str]
    shape: TaskShape
    various: bool
    episodes: int
    seed: int

    @property
    def kinds(self) -> tuple[str, ...]:
        fixed = f"{self.shape.ways}-way {self.shape.shots}-shot"
        return (fixed, VARIOUS) if self.various else (fixed,)


@dataclass(frozen=True)
class Candidate:
    """A backbone by the label that the table has for it."""

    label: str
    backbone: Backbone
    sha256: str


def labelled(text: str) -> tuple[str, str]:
    """`LABEL=REST` in two; what has no label is labelled by the name of its file, and its split."""
    label, equals, rest = text.partition("=")
    if equals:
        return label, rest
    return Path(text).name.replace(".safetensors", "").replace(".zip", "") or "shipped", text


def labelled_data(texts: Sequence[str]) -> dict[str, str]:
    """Data by label.

    Raises:
        ConfigurationError: two have one label.
    """
    pairs = list(map(labelled, texts))
    if len(dict(pairs)) < len(pairs):
        raise ConfigurationError(
            f"data need labels of their own, these are {', '.join(p[0] for p in pairs)}: LABEL=DATA"
        )
    return dict(pairs)


def read_candidate(text: str) -> Candidate:
    """A backbone's file of this project, or published weights; `LABEL=FILE` or `FILE`.

    Raises:
        ConfigurationError, BackboneError: as `read_bytes`, `from_bytes` and `read_published`.
    """
    label, name = labelled(text)
    path, data = backbone_path(name), read_bytes(name)
    backbone = from_bytes(data) if is_backbone_file(path) else read_published(path).backbone
    return Candidate(label, backbone, digest(data))


def _draw(settings: EvaluationSettings, data: str) -> dict[str, Tasks]:
    """The tasks of each kind; the same for every backbone."""
    source, shape = open_source(data), settings.shape
    kinds: dict[str, Tasks] = {}
    for number, kind in enumerate(settings.kinds):
        rngs = (generator(settings.seed, Draw.EVALUATION, number, episode) for episode in range(settings.episodes))
        kinds[kind] = [
            sample_various(source, rng)
            if kind == VARIOUS
            else sample_fixed(source, shape.ways, shape.shots, shape.queries, rng)
            for rng in rngs
        ]
    return kinds


def _accuracies(
    candidate: Candidate, label: str, data: str, kinds: dict[str, Tasks], progress: Progress
) -> dict[str, list[float]]:
    """By kind, the accuracy of each task; every image is embedded once for all kinds."""

    def show(done: int, total: int) -> None:
        progress(f"{candidate.label} on {label}", done, total, {})

    together = [task for tasks in kinds.values() for task in tasks]
    values = iter(frozen_accuracies(candidate.backbone, open_source(data), together, show))
    return {kind: [next(values) for _ in tasks] for kind, tasks in kinds.items()}


def _row(label: str, data: str, tasks: str, values: list[float], first: list[float] | None) -> Row:
    accuracy = Accuracy.of(values)
    if first is None:
        return Row(backbone=label, data=data, tasks=tasks, accuracy=accuracy)
    found = paired(values, first)
    return Row(backbone=label, data=data, tasks=tasks, accuracy=accuracy, gain=found.mean, gain_interval=found.interval)


def evaluate(candidates: list[Candidate], settings: EvaluationSettings, progress: Progress) -> Evaluation:
    """Every backbone on every kind of task of every data; the first backbone is what the others are held against.

    Raises:
        ConfigurationError: two backbones have one label, or there is no such data.
        DataError: the data is not enough for the tasks.
    """
    labels = [candidate.label for candidate in candidates]
    if len(set(labels)) < len(labels):
        raise ConfigurationError(f"every backbone needs a label of its own, these are {', '.join(labels)}: LABEL=FILE")
    rows: list[Row] = []
    for label, data in settings.data.items():
        kinds = _draw(settings, data)
        found = [_accuracies(candidate, label, data, kinds, progress) for candidate in candidates]
        for kind in kinds:
            for position, (candidate, values) in enumerate(zip(candidates, found, strict=True)):
                first = found[0][kind] if position else None
                rows.append(_row(candidate.label, label, kind, values[kind], first))
    return Evaluation(
        backbones={candidate.label: candidate.sha256 for candidate in candidates},
        data=dict(settings.data),
        shape=settings.shape,
        various=settings.various,
        episodes=settings.episodes,
        seed=settings.seed,
        rows=tuple(rows),
        versions=versions(),
    )
