"""A configuration that cannot be meant is an error that names the key."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from server.backbones.training import load_training_settings
from tests.training import EPISODIC, SUPERVISED, run_keys
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.meta_training.pipeline import training_device

CONFIGURATIONS = sorted((Path(__file__).parents[2] / "server" / "configs").rglob("*.yaml"))
DATA = {"name": "x", "data": "x"}


def written(tmp_path: Path, **change: Any) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(run_keys(tmp_path, backbone="mcunet-5fps") | change), encoding="utf-8")
    return file


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    settings = load_training_settings(written(tmp_path))
    assert (settings.start, settings.device, settings.threads) == ("random", "cpu", 1)
    assert [phase.kind for phase in settings.phases] == ["supervised", "episodic"]
    assert settings.phases[0].warm_up == 0.05


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": 1}, "colour: Extra inputs"),
        ({"train": [{**DATA, "mirror": 1}]}, r"train\.0\.mirror: Extra inputs"),
        ({"validation": [{**DATA, "episode": 5}]}, r"validation\.0\.episode: Extra inputs"),
        ({"phases": [{**SUPERVISED, "ways": 5}]}, r"phases\.0\.supervised\.ways: Extra inputs"),
        ({"phases": [{**EPISODIC, "batch": 5}]}, r"phases\.0\.episodic\.batch: Extra inputs"),
        ({"phases": [{**SUPERVISED, "kind": "self"}]}, r"phases\.0"),
        ({"phases": [{**SUPERVISED, "steps": -1}]}, r"phases\.0\.supervised\.steps"),
        ({"phases": [{**SUPERVISED, "learning_rate": float("inf")}]}, "learning_rate"),
        ({"phases": [{**EPISODIC, "learning_rate": 1e39}]}, "learning_rate"),
        ({"phases": []}, "phases"),
        ({"phases": [EPISODIC, SUPERVISED]}, "cannot follow an episodic one"),
        ({"phases": [SUPERVISED, EPISODIC, SUPERVISED]}, "cannot follow an episodic one"),
        ({"start": "base.safetensors"}, r"base\.safetensors has no BatchNorm"),
        ({"phases": [{**SUPERVISED, "weights": {"nowhere": 1}}]}, "phase 1 weighs nowhere; the sources are"),
        ({"phases": [{**SUPERVISED, "weights": {"pictures": 0, "grey": 0}}]}, "phase 1 draws from no source"),
        ({"train": []}, "train"),
        ({"train": [{**DATA, "data": []}]}, "train"),
        ({"train": [{**DATA, "weight": 0}]}, "weight"),
        ({"train": [{**DATA, "weight": float("inf")}]}, "weight"),
        ({"train": [DATA, DATA]}, "train has a name twice: x, x"),
        ({"validation": [DATA, DATA]}, "validation has a name twice: x, x"),
        ({"validation": []}, "validation"),
        ({"seed": "x"}, "seed"),
        ({"seed": -1}, "seed"),
        ({"device": "tpu"}, "device"),
        ({"backbone": "vgg"}, "unknown backbone 'vgg'"),
        ({"phases": [{**EPISODIC, "layers": "mix"}]}, "mcunet-5fps has no feature mix"),
        ({"name": "../escape"}, "name"),
        ({"name": "settings"}, r"settings\.json of its own"),
    ],
)
def test_wrong_settings_name_the_key(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        load_training_settings(written(tmp_path, **change))


def test_a_mix_can_be_trained_where_there_is_one(tmp_path: Path) -> None:
    file = written(tmp_path, backbone="proxyless-w0.3", phases=[{**EPISODIC, "layers": "mix"}])
    assert load_training_settings(file).backbone == "proxyless-w0.3"


@pytest.mark.parametrize("content", [b"a: [", b"a: 2001-99-99", b"\xff\xfe\x00", b"", b"[1, 2]", b"word", b"a: b: c"])
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"x\.yaml"):
        load_training_settings(tmp_path / "x.yaml")


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_configurations_that_are_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no configuration file at"):
        load_training_settings(tmp_path / name)


def test_cuda_without_cuda_is_an_error_and_auto_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = {}
    for device in ("cpu", "auto"):
        found[device] = training_device(load_training_settings(written(tmp_path, device=device))).type
    assert found == {"cpu": "cpu", "auto": "cpu"}
    with pytest.raises(ConfigurationError, match="PyTorch sees no CUDA device"):
        training_device(load_training_settings(written(tmp_path, device="cuda")))


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.name)
def test_the_configurations_that_come_with_the_project_are_valid(file: Path) -> None:
    assert load_training_settings(file).name
