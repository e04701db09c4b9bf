import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from server.backbones.cli import app
from server.backbones.evaluation import labelled
from server.backbones.manifest import ImportedManifest, read_manifest
from server.backbones.training import load_training_settings
from tests.conftest import random_backbone
from tests.core.test_published import CLASSES, folded_state
from tinytrain_core.backbones.published import read_published
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import from_bytes, to_bytes
from tinytrain_core.errors import BackboneError, ConfigurationError, DataError
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.sources import open_source

NAME = "mbv2-w0.35-nomix"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    file = tmp_path / "w.pt"
    torch.save(folded_state(random_backbone(load_spec(NAME))), file)
    return file


def photographs(folder: Path, classes: int = CLASSES, images: int = 6) -> Path:
    rng = np.random.default_rng(0)
    for c in range(classes):
        (folder / f"c{c}").mkdir(parents=True)
        for i in range(images):
            pixels = rng.integers(0, 60, (40, 40, 3)) + 25 * c
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"c{c}" / f"{i}.png")
    return folder


def call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_an_imported_backbone_is_the_published_one(published: Path, tmp_path: Path) -> None:
    data = photographs(tmp_path / "photos")
    (data / "c0" / "0.png").write_bytes(b"junk")
    out = tmp_path / "out" / "mine.safetensors"
    call("import", published, "--out", out, "--check", data, "--licence", "MIT")
    backbone = from_bytes(out.read_bytes())
    theirs = read_published(published)
    assert all(torch.equal(a, b) for a, b in zip(backbone.weights, theirs.backbone.weights, strict=True))
    manifest = read_manifest(out.with_suffix(".json"), out.read_bytes())
    assert isinstance(manifest, ImportedManifest)
    assert (manifest.name, manifest.source, manifest.layout, manifest.images) == ("mine", "w.pt", "folded", 41)
    source = open_source(str(data))
    hits = [
        int(theirs.classify(scale_pixels(source.load(c, i, 128, 1.0)[None])).argmax()) == c
        for c in range(CLASSES)
        for i in range(6)
        if (c, i) != (0, 0)
    ]
    assert manifest.top1 == pytest.approx(np.mean(hits))
    assert manifest.top5 is not None
    assert manifest.top5 >= np.mean(hits)
    printed = call("show", out)
    assert "folded" in printed
    assert "16,646,912" in printed
    assert json.loads(call("show", out, "--format", "json"))["manifest"]["kind"] == "imported"


def test_wrong_images_to_check_on_leave_no_file(published: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 classes, the classifier 7"):
        call("import", published, "--out", tmp_path / "o.safetensors", "--check", photographs(tmp_path / "p", 3))
    assert not (tmp_path / "o.safetensors").exists()


def test_the_same_backbone_gains_nothing_and_a_better_one_does(published: Path, tmp_path: Path) -> None:
    data = photographs(tmp_path / "photos")
    dark = read_published(published).backbone
    (tmp_path / "same.safetensors").write_bytes(to_bytes(dark))
    blind = to_bytes(type(dark)(dark.spec, tuple(w * 0 for w in dark.weights), dark.biases, dark.head_scale))
    (tmp_path / "blind.safetensors").write_bytes(blind)
    candidates = [f"first={published}", tmp_path / "same.safetensors", tmp_path / "blind.safetensors"]
    shape = ("--ways", "3", "--shots", "2", "--queries", "2", "--episodes", "8", "--out", tmp_path / "out")
    evaluation = json.loads(call("evaluate", *candidates, "--data", f"photos={data}", *shape, "--format", "json"))
    rows = {(row["backbone"], row["tasks"]): row for row in evaluation["rows"]}
    assert set(rows) == {(b, t) for b in ("first", "same", "blind") for t in ("3-way 2-shot", "various ways and shots")}
    fixed = [rows[b, "3-way 2-shot"] for b in ("first", "same", "blind")]
    assert fixed[0]["gain"] is None
    assert (fixed[1]["gain"], fixed[1]["gain_interval"]) == (0, 0)
    assert fixed[2]["accuracy"]["mean"] == pytest.approx(1 / 3)
    assert fixed[2]["gain"] == pytest.approx(1 / 3 - fixed[0]["accuracy"]["mean"])
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == evaluation
    assert (tmp_path / "out" / "evaluation.svg").read_bytes().startswith(b"<?xml")
    table = call("evaluate", *candidates, "--data", f"photos={data}", *shape)
    assert "against first" in table


def test_labels_must_differ(published: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="label of its own"):
        call("evaluate", published, published, "--data", "glyphs:test", "--out", tmp_path)


def test_data_of_one_label_are_refused_and_not_dropped(published: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="labels of their own"):
        call("evaluate", published, "--data", "a/test.zip", "--data", "b/test.zip", "--out", tmp_path)


def test_the_shipped_backbone_has_a_manifest_of_its_own() -> None:
    assert json.loads(call("show", "--format", "json"))["manifest"]["kind"] == "trained"


@pytest.mark.parametrize("config", sorted(Path("server/configs").rglob("*.yaml")), ids=str)
def test_the_configurations_that_ship_can_be_read(config: Path) -> None:
    assert load_training_settings(config).name == config.stem


@pytest.mark.parametrize(
    ("text", "label", "rest"),
    [("a=b/c.safetensors", "a", "b/c.safetensors"), ("x/y.safetensors", "y", "x/y.safetensors"), ("", "shipped", "")],
)
def test_labels(text: str, label: str, rest: str) -> None:
    assert labelled(text) == (label, rest)
    assert labelled("data/omniglot.zip:evaluation")[0] == "omniglot:evaluation"


def test_a_card_needs_a_backbone_that_was_trained_here(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    call("import", published, "--out", out)
    with pytest.raises(ConfigurationError, match="meta-train"):
        call("card", out)
    out.with_suffix(".json").write_text("{}")
    with pytest.raises(BackboneError):
        call("card", out)
