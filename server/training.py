"""Meta-training from a configuration file to a backbone's file and manifest."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

from server.manifest import Accuracy, BackboneManifest, data_licence
from server.versions import versions
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import digest, from_bytes, to_bytes
from tinytrain_core.errors import ConfigurationError, StorageError
from tinytrain_core.fewshot.datasets import ImageSource, is_glyphs, open_source
from tinytrain_core.fewshot.meta_settings import MetaTrainingSettings
from tinytrain_core.fewshot.meta_training import Progress, make_backbone

SETTINGS_FILE = "settings.json"


def load_training_settings(path: Path) -> MetaTrainingSettings:
    """Read the settings of a meta-training.

    Raises:
        ConfigurationError: no such file, not YAML, an unknown key, a wrong type, or an unknown architecture.
    """
    if not path.is_file():
        raise ConfigurationError(f"no configuration at {path}; server/configs/ has examples")
    try:
        settings = MetaTrainingSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"{path} does not configure a meta-training: {wrong}") from None
    load_spec(settings.backbone)
    return settings


def training_source(data: str, settings: MetaTrainingSettings) -> ImageSource:
    """The images that `data` names; glyphs as often in each typeface, and by the writers, that the settings say.

    Raises:
        ConfigurationError, DataError: as `open_source`.
    """
    if not is_glyphs(data):
        return open_source(data)
    from tinytrain_core.fewshot.glyphs import GlyphSource  # draws with matplotlib, which takes a while to import

    split = data.partition(":")[2] or "train"
    return GlyphSource(split, seed=settings.seed, images_per_face=settings.images_per_face)


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


def _claim(out: Path, settings: MetaTrainingSettings) -> None:
    """Make sure that the checkpoints in `out` are of these settings; the number of loading processes may differ.

    Raises:
        ConfigurationError: they are of others, or it cannot be told.
        StorageError: the folder cannot be written.
    """
    wanted = settings.model_dump(mode="json", exclude={"workers"})
    file = out / SETTINGS_FILE
    if file.is_file() and (found := _claimed(file)) != wanted:
        differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        raise ConfigurationError(f"{out} holds a run with another {', '.join(differing)}; give another --out")
    _save(file, (json.dumps(wanted, indent=2) + "\n").encode())


def _save(file: Path, data: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    except OSError as error:
        raise StorageError(f"cannot write {len(data)} bytes to {file}: {error.strerror}; give another --out") from error


def _write(
    out: Path, settings: MetaTrainingSettings, backbone: Backbone, accuracies: list[float], command: str
) -> Path:
    """The backbone in half precision, which is what a fleet gets, and its manifest."""
    data = to_bytes(backbone, torch.float16)
    from_bytes(data)  # no weight is too large for half precision
    manifest = BackboneManifest(
        name=settings.name,
        architecture=backbone.spec.name,
        sha256=digest(data),
        bytes=len(data),
        head_scale=backbone.head_scale,
        made_by=command,
        settings=settings,
        data=f"{settings.train}, validated on {settings.validation}",
        data_licence=data_licence(settings.train),
        validation=Accuracy.of(accuracies),
        versions=versions("matplotlib"),
    )
    file = out / f"{settings.name}.safetensors"
    _save(file, data)
    _save(file.with_suffix(".json"), (manifest.model_dump_json(indent=2) + "\n").encode())
    return file


def meta_train(settings: MetaTrainingSettings, out: Path, command: str, progress: Progress) -> Path:
    """Make a backbone, from the checkpoints in `out` where there are any.

    Args:
        command: what to write down as the command that makes it again.

    Returns:
        The backbone's file; its manifest is beside it, ending in `.json`.

    Raises:
        ConfigurationError: the folder holds a run with other settings, or there is no such data.
        DataError: the data is not enough.
        BackboneError: a weight came out too large for half precision.
        StorageError: the folder cannot be written.
    """
    train, validation = (training_source(data, settings) for data in (settings.train, settings.validation))
    _claim(out, settings)
    backbone, accuracies = make_backbone(settings, train, validation, out, progress)
    return _write(out, settings, backbone, accuracies, command)
