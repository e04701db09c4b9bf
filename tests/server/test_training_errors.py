"""Every way in which a meta-training can end early: a typed error, and nothing lost or spoilt."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from server.backbones.training import meta_train
from tests.disk import full_for
from tests.training import EPISODIC, SUPERVISED, Stopped, contents, ignore, settings_of, stop_at
from tinytrain_core.errors import (
    ConfigurationError,
    DataError,
    StorageError,
    TooFewClassesError,
    TooFewImagesError,
    TrainingDivergedError,
)

SPOILT = [
    ({"phases": [SUPERVISED, {**EPISODIC, "ways": 4}]}, TooFewClassesError, r"4 ways of 1 \+ 2 images"),
    ({"phases": [SUPERVISED, {**EPISODIC, "shots": 4}]}, TooFewClassesError, "0 classes have them"),
    ({"validation": [{"name": "v", "data": "DATA/held-out", "queries": 9}]}, TooFewClassesError, r"5 \+ 9 images"),
    ({"train": [{"name": "x", "data": "DATA/nowhere"}]}, ConfigurationError, "no folder at"),
    ({"train": [{"name": "x", "data": "DATA/pictures:train"}]}, ConfigurationError, r"no splits\.json"),
    ({"train": [{"name": "x", "data": "$TINYTRAIN_NOT_SET/x.zip"}]}, ConfigurationError, "TINYTRAIN_NOT_SET"),
    ({"device": "cuda"}, ConfigurationError, "no CUDA device"),
    ({"start": "nowhere.safetensors", "phases": [EPISODIC]}, ConfigurationError, "nowhere"),
]


@pytest.mark.parametrize(("change", "error", "said"), SPOILT)
def test_what_cannot_be_trained_is_found_before_a_step_and_spoils_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    phases: list[str] = []
    changed = json.loads(json.dumps(change).replace("DATA", str(tmp_path)))
    with pytest.raises(error, match=said):
        meta_train(settings_of(tmp_path, **changed), tmp_path / "out", "", lambda phase, *_: phases.append(phase))
    assert all(phase.startswith("decode") for phase in phases)
    assert not (tmp_path / "out").exists()


def test_a_class_with_too_few_images_is_never_in_a_task(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, train=[{"name": "pictures", "data": str(tmp_path / "pictures")}])
    for name in ("003.png", "004.png"):
        (tmp_path / "pictures" / "pictures0" / name).unlink()
    assert meta_train(settings, tmp_path / "three", "", ignore).is_file()  # a shot and two queries
    (tmp_path / "pictures" / "pictures0" / "002.png").unlink()
    assert meta_train(settings, tmp_path / "two", "", ignore).is_file()  # two classes are left for two ways
    (tmp_path / "pictures" / "pictures1" / "004.png").write_bytes(b"")
    (tmp_path / "pictures" / "pictures1" / "003.png").write_bytes(b"")
    (tmp_path / "pictures" / "pictures1" / "002.png").write_bytes(b"")
    with pytest.raises(TooFewClassesError, match="1 classes have them"):
        meta_train(settings, tmp_path / "one", "", ignore)


def test_unreadable_images_among_good_ones_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    expected = meta_train(settings, tmp_path / "without", "", ignore)
    for name in ("pictures/pictures0/zz.png", "pictures/pictures2/005.jpg", "grey/grey1/zz.webp"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    found = meta_train(settings, tmp_path / "with", "", ignore)
    assert found.read_bytes() == expected.read_bytes()


def test_a_source_of_unreadable_images_is_a_data_error(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for file in (tmp_path / "grey").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="none of 15 images"):
        meta_train(settings, tmp_path / "out", "", ignore)
    assert not (tmp_path / "out").exists()


def test_unreadable_validation_images_are_left_out_of_their_tasks(tmp_path: Path) -> None:
    held_out = {"name": "held-out", "data": str(tmp_path / "held-out"), "ways": 3, "shots": 2, "queries": 2}
    settings = settings_of(tmp_path, validation=[held_out])
    for k in range(3):
        (tmp_path / "held-out" / f"held-out{k}" / "001.png").write_bytes(b"")
    assert meta_train(settings, tmp_path / "out", "", ignore).is_file()


def test_validation_images_that_went_bad_can_be_mended(tmp_path: Path) -> None:
    settings, out, images = settings_of(tmp_path, checkpoint_every=1), tmp_path / "out", tmp_path / "held-out"
    good = {file: file.read_bytes() for file in images.rglob("*.png")}
    with pytest.raises(Stopped):
        meta_train(settings, out, "", stop_at("1-supervised"))
    for file in good:
        file.write_bytes(b"")
    with pytest.raises(TooFewImagesError, match="0 of 3"):
        meta_train(settings, out, "", ignore)
    for file, content in good.items():
        file.write_bytes(content)
    expected = meta_train(settings, tmp_path / "whole", "", ignore)
    assert meta_train(settings, out, "", ignore).read_bytes() == expected.read_bytes()


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="another place"):
        meta_train(settings_of(tmp_path), tmp_path / "file" / "out", "", ignore)


def test_a_backbone_that_cannot_be_written_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        meta_train(settings_of(tmp_path), out, "", stop_at("1-supervised"))
    before = (out / "tiny.last.safetensors").read_bytes()
    with monkeypatch.context() as disk:
        disk.setattr("tinytrain_core.files.os.fsync", full_for("tiny.last.safetensors"))
        with pytest.raises(StorageError, match="No space left on device"):
            meta_train(settings_of(tmp_path), out, "", ignore)
    assert (out / "tiny.last.safetensors").read_bytes() == before
    expected = meta_train(settings_of(tmp_path), tmp_path / "whole", "", ignore)
    assert meta_train(settings_of(tmp_path), out, "", ignore).read_bytes() == expected.read_bytes()
    assert not list(out.glob("*.partial"))


def test_a_run_that_diverges_writes_no_backbone(tmp_path: Path) -> None:
    phases = [{**SUPERVISED, "steps": 9, "learning_rate": 1e10, "warm_up": 0, "validate_every": 0}]
    with pytest.raises(TrainingDivergedError, match=r"phase 1-supervised, step \d of 9: .* lower learning_rate"):
        meta_train(settings_of(tmp_path, phases=phases), tmp_path / "out", "", ignore)
    assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"{}", b'{"name": 3}'])
def test_damaged_settings_of_a_folder_are_a_configuration_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "settings.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"give another --out"):
        meta_train(settings_of(tmp_path), tmp_path / "out", "", ignore)
    assert contents(tmp_path / "out") == {"settings.json": content}
