"""Meta-training from a configuration file to backbone files, their manifests and model cards."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from server.backbones.manifest import Accuracy, DataFacts, TrainedManifest, data_licence, facts_of, read_manifest
from server.backbones.model_card import model_card
from server.versions import versions
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import digest, from_bytes, read_bytes, to_bytes
from tinytrain_core.configuration import parse_settings, read_yaml_file
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.sources import expanded_path
from tinytrain_core.files import exclusive, write_file
from tinytrain_core.meta_training.loop import Progress, Snapshot
from tinytrain_core.meta_training.mixture import SourceMixture
from tinytrain_core.meta_training.pipeline import read_data, train_backbone
from tinytrain_core.meta_training.settings import RANDOM, EpisodicPhase, MetaTrainingSettings
from tinytrain_core.meta_training.start import read_start

SETTINGS_FILE = "settings.json"
BEST: Literal["best"] = "best"
LAST: Literal["last"] = "last"


def load_training_settings(path: Path, device: str = "") -> MetaTrainingSettings:
    """Read the settings of a meta-training.

    Args:
        device: where to train, in place of what the file says.

    Raises:
        ConfigurationError: no such file, not YAML, an unknown key, a wrong type, an unknown architecture, or one
            that has no feature mix to train.
    """
    raw = read_yaml_file(path, "server/configs/ has examples")
    chosen = raw | {"device": device} if device else raw
    settings = parse_settings(MetaTrainingSettings, chosen, f"{path} does not configure a meta-training")
    spec = load_spec(settings.backbone)
    mix_only = any(isinstance(phase, EpisodicPhase) and phase.layers == "mix" for phase in settings.phases)
    if mix_only and spec.convs[-1].kind != "mix":
        raise ConfigurationError(f"{path} trains `layers: mix`, but {spec.name} has no feature mix")
    return settings


def _claimed(file: Path) -> dict[str, Any]:
    """The settings of the run that a folder holds.

    Raises:
        ConfigurationError: the file is damaged.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{file} is damaged ({error}); give another --out") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{file} holds {type(found).__name__}, not settings; give another --out")
    return found


def _check_claim(out: Path, settings: MetaTrainingSettings) -> None:
    """Make sure that the checkpoints in `out` are of these settings.

    Raises:
        ConfigurationError: they are of others, or it cannot be told.
    """
    wanted = settings.model_dump(mode="json")
    file = out / SETTINGS_FILE
    if file.is_file() and (found := _claimed(file)) != wanted:
        differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        raise ConfigurationError(f"{out} holds a run with another {', '.join(differing)}; give another --out")


def _claim(out: Path, settings: MetaTrainingSettings) -> None:
    """Say in `out` whose checkpoints it holds.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_file(out / SETTINGS_FILE, (json.dumps(settings.model_dump(mode="json"), indent=2) + "\n").encode())


@dataclass(frozen=True)
class _Writer:
    """Writes a backbone in half precision, which is what a fleet gets, and its manifest."""

    settings: MetaTrainingSettings
    out: Path
    command: str
    start: str
    mixture: SourceMixture

    def file(self, label: str) -> Path:
        name = self.settings.name
        return self.out / (f"{name}.safetensors" if label == BEST else f"{name}.{label}.safetensors")

    def write(self, snapshot: Snapshot) -> None:
        data = to_bytes(snapshot.backbone, torch.float16)
        from_bytes(data)  # no weight is too large for half precision
        for label in (LAST, BEST) if snapshot.is_best else (LAST,):
            manifest = self._manifest(label, snapshot, data)
            write_file(self.file(label), data)
            write_file(self.file(label).with_suffix(".json"), (manifest.model_dump_json(indent=2) + "\n").encode())

    def _manifest(self, label: Literal["best", "last"], snapshot: Snapshot, data: bytes) -> TrainedManifest:
        return TrainedManifest(
            name=self.settings.name,
            **facts_of(snapshot.backbone, data),
            made_by=self.command,
            data_licence=data_licence(self.settings.train),
            versions=versions("matplotlib"),
            label=label,
            start=self.start,
            device=self.mixture.device.type,
            data={d.name: DataFacts.of(pool) for d, pool in zip(self.mixture.data, self.mixture.pools, strict=True)},
            phase=snapshot.phase,
            step=snapshot.step,
            settings=self.settings,
            validation={name: Accuracy.of(values) for name, values in snapshot.validation.accuracies.items()},
        )

    def write_card(self) -> None:
        """The model card of the best."""
        file = self.file(BEST)
        manifest = read_manifest(file.with_suffix(".json"), read_bytes(file))
        if isinstance(manifest, TrainedManifest):
            write_file(file.with_suffix(".md"), model_card(manifest, None).encode())


def _start(settings: MetaTrainingSettings) -> tuple[Backbone | None, str]:
    """The backbone that a run starts from, None for random weights, and what the manifest says of it."""
    if settings.start == RANDOM:
        return None, RANDOM
    file = expanded_path(settings.start)
    return read_start(file, load_spec(settings.backbone), settings.seed), digest(read_bytes(file))


def meta_train(settings: MetaTrainingSettings, out: Path, command: str, progress: Progress) -> Path:
    """Make a backbone, from the checkpoints in `out` where there are any.

    Args:
        command: what to write down as the command that makes it again.

    Returns:
        The file of the backbone that validated best. The last one is beside it, and so are their manifests.

    Raises:
        ConfigurationError: the folder holds a run with other settings, or there is no such data.
        DataError: the data is not enough.
        BackboneError: the backbone to start from does not fit, or a weight came out too large for half precision.
        TrainingDivergedError: a loss or gradient is not finite.
        StorageError: the folder cannot be written.
    """
    start, described = _start(settings)
    _check_claim(out, settings)
    data = read_data(settings, progress)
    writer = _Writer(settings, out, command, described, data.mixture)
    with exclusive(out):
        _check_claim(out, settings)  # again: somebody may have come while the images were decoded
        _claim(out, settings)
        train_backbone(settings, data, start, out, progress, writer.write)
        writer.write_card()
    return writer.file(BEST)
