"""Architectures match the paper to the digit, folding is exact, and damaged files are refused."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.conftest import random_backbone, random_network
from tinytrain_core.backbones.folding import fold
from tinytrain_core.backbones.spec import backbone_names, load_spec
from tinytrain_core.backbones.weights import (
    FORMAT,
    digest,
    from_bytes,
    read_bytes,
    shipped_names,
    shipped_path,
    to_bytes,
)
from tinytrain_core.errors import BackboneError, ConfigurationError

# Kwon et al. 2024, Table 2 (half of FullTrain's backward MACs), at 128 x 128 without classifier.
PAPER = {
    "mcunet-5fps": (22_453_504, 463_216, 42, 160),
    "mbv2-w0.35": (17_449_728, 288_864, 52, 448),
    "proxyless-w0.3": (19_209_728, 357_680, 61, 384),
}


@pytest.mark.parametrize("name", PAPER)
def test_macs_and_weights_are_the_papers(name: str) -> None:
    spec = load_spec(name)
    assert (spec.macs, spec.weights, len(spec.convs), spec.feature_dim) == PAPER[name]


@pytest.mark.parametrize("name", PAPER)
def test_macs_are_what_torch_counts(name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    backbone = random_backbone(load_spec(name))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone.embed(torch.zeros(1, 3, 128, 128))
    assert counter.get_total_flops() == 2 * backbone.spec.macs


@pytest.mark.parametrize("name", PAPER)
def test_folding_changes_nothing(name: str) -> None:
    network = random_network(load_spec(name)).double()
    images = torch.rand(2, 3, 128, 128, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        expected, folded = network(images), fold(network).embed(images)
    assert torch.allclose(expected, folded, atol=1e-5, rtol=0)
    assert expected.std() > 0.1  # the comparison is of something


def test_known_names() -> None:
    assert backbone_names() == sorted(PAPER)
    with pytest.raises(ConfigurationError, match="mcunet-5fps"):
        load_spec("resnet50")


def test_window_starts_where_a_block_does() -> None:
    spec = load_spec("mcunet-5fps")
    assert spec.convs[spec.window_start(6)].name == "block08.pw1"
    assert spec.convs[spec.window_start(1)].name == "block13.pw1"
    assert spec.window_start(100) == 0
    assert load_spec("mbv2-w0.35").convs[load_spec("mbv2-w0.35").window_start(1)].name == "mix"


def test_files_round_trip_with_a_stable_digest() -> None:
    backbone = random_backbone(load_spec("mcunet-5fps"))
    data = to_bytes(backbone)
    again = from_bytes(data)
    assert all(torch.equal(a, b) for a, b in zip(backbone.weights, again.weights, strict=True))
    assert again.head_scale == backbone.head_scale
    assert digest(to_bytes(again)) == digest(data)


def _tampered(**changes: object) -> bytes:
    """A backbone's file with its tensors or header changed."""
    data = to_bytes(random_backbone(load_spec("mcunet-5fps")))
    tensors = safetensors.torch.load(data)
    header = {"format": FORMAT, "architecture": "mcunet-5fps", "head_scale": "10.0"}
    header |= changes.pop("header", {})  # type: ignore[arg-type]
    for name, value in changes.items():
        tensors.pop(name) if value is None else tensors.update({name: value})  # type: ignore[dict-item]
    return safetensors.torch.save(tensors, {"tinytrain": json.dumps(header)})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a safetensors file"),
        (b"\xff" * 64, "not a safetensors file"),
        (safetensors.torch.save({"a": torch.zeros(1)}), "no readable TinyTrain header"),
        (_tampered(header={"format": "other"}), "format"),
        (_tampered(header={"architecture": "resnet50"}), "unknown backbone"),
        (_tampered(header={"architecture": ["mcunet-5fps"]}), "needs an architecture's name"),
        (_tampered(header={"head_scale": "nan"}), "needs an architecture's name"),
        (_tampered(**{"stem.weight": None}), "'stem.weight' is missing"),
        (_tampered(**{"stem.bias": torch.zeros(3)}), r"shape \(3,\)"),
        (_tampered(**{"stem.bias": torch.full((16,), float("nan"))}), "not finite"),
        (_tampered(**{"head.weight": torch.zeros(3)}), "head.weight"),
        (to_bytes(random_backbone(load_spec("mcunet-5fps")))[:-1000], "cannot be read"),
    ],
)
def test_damaged_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        from_bytes(data)


@pytest.mark.parametrize("name", shipped_names())
def test_the_shipped_backbones_are_small_and_what_their_manifests_say(name: str) -> None:
    data = read_bytes(name)
    manifest = json.loads(shipped_path(name).with_suffix(".json").read_text())
    assert len(data) <= 2 * 2**20
    assert (manifest["sha256"], manifest["bytes"]) == (digest(data), len(data))
    assert from_bytes(data).spec.name == manifest["architecture"] == name
    assert shipped_path(name).with_suffix(".md").is_file()


def test_a_backbone_is_named_by_file_or_by_name(tmp_path: Path) -> None:
    copy = tmp_path / "own.safetensors"
    copy.write_bytes(read_bytes("mbv2-w0.35"))
    assert read_bytes(copy) == read_bytes("mbv2-w0.35") != read_bytes("")
    assert read_bytes("") == read_bytes("mcunet-5fps")


def test_missing_file() -> None:
    with pytest.raises(ConfigurationError, match=r"no backbone at nowhere.*mbv2-w0\.35"):
        read_bytes("nowhere.safetensors")
