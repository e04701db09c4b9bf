"""From a configuration to a backbone's files and what their manifests say of them."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from server.backbones.manifest import Accuracy, TrainedManifest, read_manifest
from server.backbones.training import load_training_settings, meta_train
from server.cli import main
from tests.conftest import random_backbone
from tests.training import EPISODIC, SHORT, Stopped, contents, ignore, run_keys, settings_of, stop_at
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import digest, from_bytes, to_bytes
from tinytrain_core.errors import BackboneError, ConfigurationError, StorageError
from tinytrain_core.files import exclusive
from tinytrain_core.meta_training.validation import Validator


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tinytrain-server", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command_writes_backbones_and_manifests_that_describe_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = tmp_path / "tiny.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(run_keys(tmp_path, backbone="mcunet-5fps", phases=SHORT)), encoding="utf-8")
    assert call(monkeypatch, "meta-train", str(config), "--out", str(out)) == 0
    printed = capsys.readouterr().err
    assert all(line in printed for line in ("decode grey 15/15", "1-supervised 2/2", "2-episodic 2/2"))
    for label, name in (("best", "tiny"), ("last", "tiny.last")):
        data = (out / f"{name}.safetensors").read_bytes()
        manifest = read_manifest(out / f"{name}.json", data)
        assert isinstance(manifest, TrainedManifest)
        assert (manifest.name, manifest.label, manifest.architecture) == ("tiny", label, "mcunet-5fps")
        assert (manifest.sha256, manifest.bytes) == (digest(data), len(data))
        assert manifest.head_scale == from_bytes(data).head_scale
        assert manifest.made_by == f"tinytrain-server meta-train {config} --out {out}"
        assert manifest.settings == load_training_settings(config)
        assert manifest.validation["held-out"].episodes == 4
    assert (manifest.phase, manifest.step, manifest.start) == ("2-episodic", 2, "random")
    assert call(monkeypatch, "backbone", "show", str(out / "tiny.safetensors")) == 0
    assert digest((out / "tiny.safetensors").read_bytes()) in capsys.readouterr().out
    _check_card(tmp_path, out / "tiny.safetensors", monkeypatch)


def _check_card(folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = ("--data", f"held-out={folder / 'held-out'}", "--ways", "3", "--shots", "1", "--queries", "2")
    shape = (*held_out, "--episodes", "3", "--no-various", "--out", str(folder / "evaluation"))
    evaluation = folder / "evaluation" / "evaluation.json"
    assert call(monkeypatch, "backbone", "evaluate", str(file), *shape) == 0
    assert call(monkeypatch, "backbone", "card", str(file), "--evaluation", str(evaluation)) == 0
    card = file.with_suffix(".md").read_text(encoding="utf-8")
    assert all(part in card for part in ("22,453,504 MACs", "held-out | 3-way 1-shot", "| pictures |", "seed 3"))
    assert call(monkeypatch, "backbone", "evaluate", "old=", *shape) == 0
    assert call(monkeypatch, "backbone", "card", str(file), "--evaluation", str(evaluation)) == 2  # of another backbone
    assert call(monkeypatch, "backbone", "card", str(file), "--evaluation", str(file)) == 2


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"device": "cuda"}, 2, "PyTorch sees no CUDA device"),
        ({"validation": [{"name": "v", "data": "nowhere.zip"}]}, 2, "no file at nowhere.zip"),
        ({"phases": [{**EPISODIC, "ways": 9}]}, 3, "9 ways of 1 + 2 images wanted"),
    ],
)
def test_the_command_ends_with_one_line_and_a_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(run_keys(tmp_path, backbone="mcunet-5fps") | change), encoding="utf-8")
    assert call(monkeypatch, "meta-train", str(config), "--out", str(tmp_path / "out")) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("tinytrain-server: ")
    assert said in last
    assert not (tmp_path / "out").exists()


def test_the_same_settings_give_the_same_files(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for name in ("1", "2"):
        meta_train(settings, tmp_path / name, "command", ignore)
    first, second = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert {"tiny.safetensors", "tiny.json", "tiny.last.safetensors", "tiny.last.json"} < first.keys()
    assert first == second


def test_best_stays_while_last_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = iter([0.5, 0.75, 0.75, 0.25])  # after steps 1 and 2 of either phase
    original = Validator.__call__

    def scripted(self: Validator, backbone: Any) -> Any:
        return replace(original(self, backbone), accuracies={"held-out": [next(script)] * 4})

    monkeypatch.setattr(Validator, "__call__", scripted)
    phases = [SHORT[0], {**SHORT[1], "validate_every": 1}]
    best = meta_train(settings_of(tmp_path, phases=phases), tmp_path / "out", "", ignore)
    manifests = [json.loads(file.with_suffix(".json").read_text()) for file in (best, best.with_stem("tiny.last"))]
    assert [(m["label"], m["phase"], m["step"]) for m in manifests] == [
        ("best", "1-supervised", 2),
        ("last", "2-episodic", 2),
    ]
    assert [m["validation"]["held-out"]["mean"] for m in manifests] == [0.75, 0.25]
    assert manifests[0]["sha256"] == digest(best.read_bytes())


def test_checkpoints_of_other_settings_are_not_continued(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        meta_train(settings_of(tmp_path), out, "", stop_at("1-supervised"))
    before = contents(out)
    with pytest.raises(ConfigurationError, match="another phases, seed; give another --out"):
        meta_train(settings_of(tmp_path, seed=1, phases=SHORT[:1]), out, "", ignore)
    assert contents(out) == before
    meta_train(settings_of(tmp_path), out, "", ignore)


def test_a_run_from_before_a_setting_was_there_is_not_continued_with_its_default(tmp_path: Path) -> None:
    """The default of a new key need not be what the older code did."""
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        meta_train(settings_of(tmp_path), out, "", stop_at("1-supervised"))
    kept = json.loads((out / "settings.json").read_text())
    del kept["phases"][1]["scale_learning_rate"]
    (out / "settings.json").write_text(json.dumps(kept))
    before = contents(out)
    with pytest.raises(ConfigurationError, match="another phases; give another --out"):
        meta_train(settings_of(tmp_path), out, "", ignore)
    assert contents(out) == before


@pytest.fixture
def start(tmp_path: Path) -> Path:
    file = tmp_path / "start.safetensors"
    file.write_bytes(to_bytes(random_backbone(load_spec("mcunet-5fps"))))
    return file


def test_a_run_starts_from_a_file_and_says_so(tmp_path: Path, start: Path) -> None:
    settings = settings_of(tmp_path, start=str(start), phases=[SHORT[1]])
    files = [meta_train(settings, tmp_path / name, "", ignore) for name in ("1", "2")]
    assert files[0].read_bytes() == files[1].read_bytes()
    manifest = read_manifest(files[0].with_suffix(".json"), files[0].read_bytes())
    assert isinstance(manifest, TrainedManifest)
    assert manifest.start == digest(start.read_bytes())


def test_a_start_of_another_architecture_or_damaged_is_a_backbone_error(tmp_path: Path, start: Path) -> None:
    for backbone, content in (("mbv2-w0.35", start.read_bytes()), ("mcunet-5fps", start.read_bytes()[:999])):
        start.write_bytes(content)
        settings = settings_of(tmp_path, backbone=backbone, start=str(start), phases=[SHORT[1]])
        with pytest.raises(BackboneError):
            meta_train(settings, tmp_path / "out", "", ignore)
    assert not (tmp_path / "out").exists()


def test_a_weight_too_large_for_half_precision_is_a_backbone_error(tmp_path: Path, start: Path) -> None:
    backbone = from_bytes(start.read_bytes())
    large = replace(backbone, biases=(*backbone.biases[:-1], torch.full_like(backbone.biases[-1], 1e5)))
    start.write_bytes(to_bytes(large))
    with pytest.raises(BackboneError, match="not finite"):
        meta_train(settings_of(tmp_path, start=str(start), phases=[SHORT[1]]), tmp_path / "out", "", ignore)


def test_a_manifest_of_another_backbone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(BackboneError, match=r"m\.json"):
        read_manifest(tmp_path / "m.json", b"data")
    assert read_manifest(tmp_path / "absent.json", b"data") is None


def test_the_interval_is_students() -> None:
    accuracy = Accuracy.of([0.5, 0.7, 0.9])
    assert accuracy.mean == pytest.approx(0.7)
    assert accuracy.interval == pytest.approx(4.302653 * 0.2 / 3**0.5, rel=1e-6)  # t of 97.5 % with two degrees


def test_a_folder_is_for_one_run_at_a_time(tmp_path: Path) -> None:
    with exclusive(tmp_path / "out"), pytest.raises(StorageError, match="another process"):
        meta_train(settings_of(tmp_path), tmp_path / "out", "", ignore)
    assert meta_train(settings_of(tmp_path), tmp_path / "out", "", ignore).is_file()


def test_the_command_line_can_say_where_to_train(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(run_keys(tmp_path, backbone="mcunet-5fps")), encoding="utf-8")
    assert load_training_settings(file, "auto").device == "auto"
    with pytest.raises(ConfigurationError, match="device"):
        load_training_settings(file, "tpu")
