"""The manifest beside a backbone's file: what it is and how it was made, so that it can be made again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinytrain_core.backbones.weights import digest
from tinytrain_core.errors import BackboneError
from tinytrain_core.fewshot.datasets import is_glyphs
from tinytrain_core.fewshot.meta_settings import MetaTrainingSettings
from tinytrain_core.statistics import half_width

GLYPHS_LICENCE = (
    "drawn from the DejaVu, STIX and Computer Modern fonts that matplotlib distributes; see its licence files"
)
UNKNOWN_LICENCE = "not stated; ask whoever has the data"


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
        return Accuracy(mean=fmean(accuracies), interval=half_width(accuracies), episodes=len(accuracies))


class BackboneManifest(_Model):
    """What `meta-train` knows of the backbone that it made. Sizes are bytes."""

    name: str
    architecture: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    head_scale: float
    made_by: str
    settings: MetaTrainingSettings
    data: str
    data_licence: str
    validation: Accuracy
    versions: Mapping[str, str]


def data_licence(train: str) -> str:
    """What may be done with the data that `train` names."""
    return GLYPHS_LICENCE if is_glyphs(train) else UNKNOWN_LICENCE


def read_manifest(file: Path, data: bytes) -> BackboneManifest | None:
    """The manifest in `file`, which belongs to the backbone `data`; None if there is no such file.

    Raises:
        BackboneError: it is not a manifest, or that of another backbone.
    """
    if not file.is_file():
        return None
    try:
        manifest = BackboneManifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        wrong: dict[str, Any] = {".".join(map(str, e["loc"])): e["msg"] for e in error.errors()}
        raise BackboneError(f"{file} is not a backbone's manifest: {wrong}") from None
    if manifest.sha256 != digest(data):
        raise BackboneError(f"{file} is about the backbone {manifest.sha256}, this one is {digest(data)}")
    return manifest
