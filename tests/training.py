"""A run of meta-training that takes a moment: a backbone of 32 pixels and two phases of four steps."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.conftest import SMALL_ROWS
from tests.pictures import make_pictures
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec, spec_from_rows
from tinytrain_core.backbones.weights import to_bytes
from tinytrain_core.meta_training.loop import Snapshot
from tinytrain_core.meta_training.pipeline import read_data, train_backbone
from tinytrain_core.meta_training.settings import MetaTrainingSettings

SUPERVISED = {"kind": "supervised", "steps": 4, "batch": 6, "resolution": 32, "validate_every": 3}
EPISODIC = {
    "kind": "episodic",
    "steps": 4,
    "ways": 2,
    "shots": 1,
    "queries": 2,
    "resolution": 32,
    "learning_rate": 0.01,
    "validate_every": 3,
}
SHORT = [{**SUPERVISED, "steps": 2, "validate_every": 1}, {**EPISODIC, "steps": 2}]


def small_spec(name: str = "small") -> BackboneSpec:
    """In the place of `load_spec`."""
    return spec_from_rows(SMALL_ROWS | {"name": name})


def run_keys(root: Path, **keys: Any) -> dict[str, Any]:
    """The content of a configuration file; its pictures are drawn in `root` where they are not there yet."""
    for name, grey in (("pictures", False), ("grey", True), ("held-out", False)):
        if not (root / name).exists():
            make_pictures(root / name, {f"{name}{k}": 5 for k in range(3)}, grey=grey)
    base = {
        "name": "tiny",
        "backbone": "small",
        "seed": 3,
        "stored": 32,
        "checkpoint_every": 2,
        "train": [
            {"name": "pictures", "data": str(root / "pictures"), "flip": 0.5, "weight": 2},
            {"name": "grey", "data": str(root / "grey")},
        ],
        "validation": [
            {"name": "held-out", "data": str(root / "held-out"), "ways": 3, "shots": 1, "queries": 4, "episodes": 4}
        ],
        "phases": [SUPERVISED, EPISODIC],
    }
    return deepcopy(base | keys)


def run_settings(root: Path, **keys: Any) -> MetaTrainingSettings:
    return MetaTrainingSettings.model_validate(run_keys(root, **keys))


def ignore(*_: object) -> None:
    """No progress."""


@dataclass
class Record:
    """What a run has saved: the file of each label, and when it was written last."""

    files: dict[str, tuple[bytes, str, int]] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)

    def __call__(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        for label in ("last", "best") if snapshot.is_best else ("last",):
            self.files[label] = (to_bytes(snapshot.backbone), snapshot.phase, snapshot.step)

    @property
    def last(self) -> Backbone:
        return self.snapshots[-1].backbone


def train(
    settings: MetaTrainingSettings,
    out: Path,
    start: Backbone | None = None,
    record: Record | None = None,
    progress: Callable[..., None] = ignore,
) -> Record:
    """A run, or the rest of one."""
    out.mkdir(exist_ok=True)
    record = record or Record()
    train_backbone(settings, read_data(settings, progress), start, out, progress, record)
    return record


def tensors(backbone: Backbone) -> list[torch.Tensor]:
    return [*backbone.weights, *backbone.biases]


def settings_of(root: Path, **keys: Any) -> MetaTrainingSettings:
    """As `run_settings`, shorter, and with an architecture that a file can name."""
    return MetaTrainingSettings.model_validate(run_keys(root, **({"backbone": "mcunet-5fps", "phases": SHORT} | keys)))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


class Stopped(Exception):
    """What stops a run."""


def stop_at(phase: str) -> Callable[..., None]:
    def progress(now: str, *_: object) -> None:
        if now == phase:
            raise Stopped

    return progress
