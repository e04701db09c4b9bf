import sys
from pathlib import Path

import pytest
import yaml

from server.cli import main
from server.manifest import Accuracy, read_manifest
from server.training import load_training_settings, meta_train
from tinytrain_core.backbones.weights import digest, from_bytes
from tinytrain_core.errors import BackboneError, ConfigurationError, DataError, StorageError
from tinytrain_core.fewshot.meta_settings import MetaTrainingSettings

TINY = {
    "name": "tiny",
    "workers": 0,
    "images_per_face": 1,
    "pretrain": {"steps": 2, "batch": 4, "resolution": 32},
    "episodic": {"episodes": 2, "ways": 2, "shots": 1, "queries": 1, "validation_episodes": 2},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return file


def ignore(*_: object) -> None:
    """No progress."""


class Killed(Exception):
    """What stops a run between two phases."""


def test_a_stopped_run_goes_on_to_the_same_bytes(config: Path, tmp_path: Path) -> None:
    settings = load_training_settings(config)

    def kill(phase: str, *_: object) -> None:
        if phase == "episodic":
            raise Killed

    with pytest.raises(Killed):
        meta_train(settings, tmp_path / "stopped", "command", kill)
    phases: list[str] = []
    stopped = meta_train(settings, tmp_path / "stopped", "command", lambda phase, *_: phases.append(phase))
    assert "pretrain" not in phases
    whole = meta_train(settings, tmp_path / "whole", "command", ignore)
    assert stopped.read_bytes() == whole.read_bytes()
    assert stopped.with_suffix(".json").read_text() == whole.with_suffix(".json").read_text()


def test_the_manifest_describes_the_file(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tinytrain-server", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    out = tmp_path / "out"
    assert call("meta-train", str(config), "--out", str(out)) == 0
    assert "pretrain 2/2" in capsys.readouterr().err
    file = out / "tiny.safetensors"
    data = file.read_bytes()
    manifest = read_manifest(out / "tiny.json", data)
    assert manifest is not None
    assert (manifest.sha256, manifest.bytes, manifest.architecture) == (digest(data), len(data), "mcunet-5fps")
    assert len(data) < 2 * 2**20
    assert manifest.head_scale == from_bytes(data).head_scale
    assert manifest.made_by == f"tinytrain-server meta-train {config} --out {out}"
    assert manifest.settings == load_training_settings(config)
    assert manifest.validation.episodes == 2
    assert call("backbone", "show", str(file)) == 0
    printed = capsys.readouterr().out
    assert digest(data) in printed
    assert "22,453,504" in printed
    file.write_bytes(b"junk")
    assert call("backbone", "show", str(file)) == 4
    assert call("backbone", "show", "nowhere") == 2
    assert call("backbone", "show", "--help") == 0


def test_a_manifest_of_another_backbone_is_refused(config: Path, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(BackboneError, match="sha256"):
        read_manifest(tmp_path / "m.json", b"data")
    assert read_manifest(tmp_path / "absent.json", b"data") is None


def test_checkpoints_of_other_settings_are_not_continued(config: Path, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise Killed

    settings = load_training_settings(config)
    with pytest.raises(Killed):
        meta_train(settings, tmp_path / "out", "", stop)
    with pytest.raises(ConfigurationError, match="seed"):
        meta_train(settings.model_copy(update={"seed": 1}), tmp_path / "out", "", stop)
    with pytest.raises(Killed):
        meta_train(settings.model_copy(update={"workers": 1}), tmp_path / "out", "", stop)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_damaged_settings_of_a_folder_are_a_configuration_error(config: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "settings.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"settings\.json"):
        meta_train(load_training_settings(config), tmp_path / "out", "", ignore)


def test_a_folder_that_cannot_be_written_is_a_storage_error(config: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="another --out"):
        meta_train(load_training_settings(config), config / "out", "", ignore)


def test_the_interval_is_students() -> None:
    accuracy = Accuracy.of([0.5, 0.7, 0.9])
    assert accuracy.mean == pytest.approx(0.7)
    assert accuracy.interval == pytest.approx(4.302653 * 0.2 / 3**0.5, rel=1e-6)  # t of 97.5 % with two degrees


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": 1}, "colour"),
        ({"seed": "x"}, "seed"),
        ({"backbone": "vgg"}, "vgg"),
        ({"pretrain": {"steps": -1}}, "pretrain.steps"),
    ],
)
def test_wrong_settings_name_the_key(config: Path, change: dict[str, object], named: str) -> None:
    config.write_text(yaml.safe_dump(TINY | change), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=named):
        load_training_settings(config)


def test_wrong_files_and_data_are_typed_errors(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [", encoding="utf-8")
    for file in ("absent.yaml", "broken.yaml"):
        with pytest.raises(ConfigurationError):
            load_training_settings(tmp_path / file)
    (tmp_path / "empty").mkdir()
    settings = MetaTrainingSettings.model_validate(TINY | {"train": str(tmp_path / "empty")})
    with pytest.raises(DataError, match="no images"):
        meta_train(settings, tmp_path / "out", "", ignore)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "server" / "configs").glob("*.yaml")))
def test_the_configurations_that_come_with_the_project_are_valid(file: Path) -> None:
    assert load_training_settings(file).name
