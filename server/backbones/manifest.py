"""The manifest beside a backbone's file: what it is and where it comes from, so that it can be made again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import digest
from tinytrain_core.errors import BackboneError
from tinytrain_core.fewshot.sources import is_glyphs
from tinytrain_core.meta_training.pool import ImagePool
from tinytrain_core.meta_training.settings import MetaTrainingSettings, TrainingData
from tinytrain_core.statistics import Mean

GLYPHS_LICENCE = (
    "drawn from the DejaVu, STIX and Computer Modern fonts that matplotlib distributes; see its licence files"
)
UNKNOWN_LICENCE = "not stated; ask whoever has the data"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Accuracy(_Model):
    """Mean accuracy over episodes, and half the width of its 95 % interval (Student's t)."""

    mean: float = Field(ge=0, le=1)
    interval: float = Field(ge=0)
    episodes: int = Field(ge=2)

    @staticmethod
    def of(accuracies: Sequence[float]) -> "Accuracy":
        """Of the accuracies of two or more episodes."""
        found = Mean.of(accuracies)
        return Accuracy.model_validate({"mean": found.mean, "interval": found.interval, "episodes": found.count})


class _Manifest(_Model):
    """What every backbone's manifest says. Sizes are bytes."""

    name: str
    architecture: str
    sha256: Sha256
    bytes: int = Field(gt=0)
    head_scale: float
    made_by: str
    data_licence: str
    versions: Mapping[str, str]


class DataFacts(_Model):
    """What was read of one source; `rejected` are images that could not be decoded."""

    classes: int
    images: int
    rejected: int

    @staticmethod
    def of(pool: ImagePool) -> "DataFacts":
        """Of a source's decoded images."""
        return DataFacts(classes=len(pool.classes), images=len(pool.images), rejected=pool.rejected)


class TrainedManifest(_Manifest):
    """A backbone that `meta-train` made.

    Attributes:
        label: `best` by validation, or `last`.
        start: what the run began with: `random`, or the SHA-256 of a file.
        validation: by the name of the validation data.
        phase, step: where in the run these weights were taken.
        device: cpu or cuda. data: by the name of the training data, what was read of it.
    """

    kind: Literal["trained"] = "trained"
    label: Literal["best", "last"]
    start: str
    phase: str
    step: int
    device: str
    data: Mapping[str, DataFacts]
    settings: MetaTrainingSettings
    validation: Mapping[str, Accuracy]


class ImportedManifest(_Manifest):
    """Weights that others published.

    Attributes:
        source: the published file's name; source_sha256: of its bytes.
        layout: int8, folded or torchvision.
        top1, top5: of the published classifier on `checked_on`, where it was asked for.
    """

    kind: Literal["imported"] = "imported"
    source: str
    source_sha256: Sha256
    layout: str
    input_scaling: str
    checked_on: str | None = None
    images: int | None = None
    top1: float | None = None
    top5: float | None = None


BackboneManifest = Annotated[TrainedManifest | ImportedManifest, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[TrainedManifest | ImportedManifest] = TypeAdapter(BackboneManifest)


def facts_of(backbone: Backbone, data: bytes) -> dict[str, Any]:
    """The fields of a manifest that follow from the backbone and its file's bytes."""
    return {
        "architecture": backbone.spec.name,
        "sha256": digest(data),
        "bytes": len(data),
        "head_scale": backbone.head_scale,
    }


def data_licence(train: Sequence[TrainingData]) -> str:
    """What may be done with the data that a backbone was trained on."""
    stated = {data.name: data.licence or (GLYPHS_LICENCE if is_glyphs(data.paths[0]) else "") for data in train}
    return "; ".join(f"{name}: {licence or UNKNOWN_LICENCE}" for name, licence in stated.items())


def read_manifest(file: Path, data: bytes) -> TrainedManifest | ImportedManifest | None:
    """The manifest in `file`, which belongs to the backbone `data`; None if there is no such file.

    Raises:
        BackboneError: it is not a manifest, or that of another backbone.
    """
    if not file.is_file():
        return None
    try:
        manifest = _ADAPTER.validate_json(file.read_bytes())
    except ValidationError as error:
        wrong: dict[str, Any] = {".".join(map(str, e["loc"])): e["msg"] for e in error.errors()}
        raise BackboneError(f"{file} is not a backbone's manifest: {wrong}") from None
    if manifest.sha256 != digest(data):
        raise BackboneError(f"{file} is about the backbone {manifest.sha256}, this one is {digest(data)}")
    return manifest
