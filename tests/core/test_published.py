import contextlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import random_backbone
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.published import read_published
from tinytrain_core.backbones.published_files import BLOCK_PARTS
from tinytrain_core.backbones.spec import ConvSpec, backbone_names, load_spec
from tinytrain_core.backbones.variants import torchvision_name
from tinytrain_core.errors import BackboneError, ConfigurationError, TinyTrainError
from tinytrain_core.meta_training.start import read_start

CLASSES = 7


def plain_name(conv: ConvSpec) -> str:
    return "first_conv" if conv.kind == "stem" else f"blocks.{conv.block}.{BLOCK_PARTS[conv.kind]}"


def folded_state(backbone: Backbone) -> dict[str, Tensor]:
    state = {}
    for conv, weight, bias in zip(backbone.spec.convs, backbone.weights, backbone.biases, strict=True):
        state |= {f"{plain_name(conv)}.weight": weight, f"{plain_name(conv)}.bias": bias}
    generator = torch.Generator().manual_seed(1)
    classifier = torch.randn(CLASSES, backbone.spec.feature_dim, generator=generator)
    return state | {"classifier.weight": classifier, "classifier.bias": torch.arange(CLASSES).float()}


def write_int8(state: dict[str, Tensor], file: Path, input_scale: float = 0.01) -> None:
    """Quantise a folded state as the published archives are: per channel, the bias in units of both scales."""
    arrays: dict[str, np.ndarray] = {}
    blocks: dict[int, dict[str, object]] = {}
    config: dict[str, object] = {}
    for name in [key.removesuffix(".weight") for key in state if key.endswith(".weight")]:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        scales = weight.flatten(1).abs().amax(1).clamp_min(1e-6) / 127
        arrays[f"{name}.params.weight"] = (weight.flatten(1) / scales[:, None]).round().reshape(weight.shape).numpy()
        arrays[f"{name}.params.weight"] = arrays[f"{name}.params.weight"].astype(np.int8)
        arrays[f"{name}.params.bias"] = (bias / (scales * input_scale)).round().numpy().astype(np.int32)
        arrays[f"{name}.params.w_scales"] = scales.numpy()
        layer = {"params": {"x_scale": input_scale}}
        if name.startswith("blocks."):
            _, number, part = name.split(".")
            blocks.setdefault(int(number), dict.fromkeys(BLOCK_PARTS.values()))[part] = layer
        else:
            config[name] = layer
    config["blocks"] = [blocks[number] for number in sorted(blocks)]
    arrays["__config__"] = np.frombuffer(json.dumps(config).encode(), np.uint8)
    np.savez(file, **arrays)


@pytest.mark.parametrize("name", ["mcunet-5fps", "mbv2-w0.35-nomix", "proxyless-w0.3-nomix"])
def test_folded_and_int8_give_the_same_backbone_and_name_it(name: str, tmp_path: Path) -> None:
    backbone = random_backbone(load_spec(name))
    torch.save(folded_state(backbone), tmp_path / "w.pt")
    write_int8(folded_state(backbone), tmp_path / "w.npz")
    folded, int8 = read_published(tmp_path / "w.pt"), read_published(tmp_path / "w.npz")
    assert (folded.layout, int8.layout) == ("folded", "int8")
    assert folded.backbone.spec.name == int8.backbone.spec.name == name
    for index, weight in enumerate(backbone.weights):
        assert torch.equal(folded.backbone.weights[index], weight)
        step = float(weight.abs().max()) / 127
        torch.testing.assert_close(int8.backbone.weights[index], weight, atol=0.51 * step, rtol=0)
    images = torch.randn(2, 3, 64, 64)
    expected = backbone.embed(images) @ folded_state(backbone)["classifier.weight"].t() + torch.arange(CLASSES)
    torch.testing.assert_close(folded.classify(images), expected)


@pytest.mark.parametrize("width", [0.35, 1.0])
def test_torchvisions_mobilenet_is_the_same_network(width: float, tmp_path: Path) -> None:
    from tinytrain_core.fewshot.torchvision_import import torchvision_datasets

    torchvision_datasets()
    from torchvision import models

    torch.manual_seed(0)
    model = models.mobilenet_v2(width_mult=width, num_classes=CLASSES).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    torch.save(model.state_dict(), tmp_path / "m.pth")
    published = read_published(tmp_path / "m.pth")
    assert published.backbone.spec.name == torchvision_name(width)
    pixels = torch.rand(2, 3, 128, 128)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        theirs = model.features[0]((pixels - mean) / std)
        ours = published.backbone.run(pixels * 2 - 1, 0, 1)
        torch.testing.assert_close(ours[..., 1:, 1:], theirs[..., 1:, 1:], atol=1e-4, rtol=1e-4)  # the border is padded
        later = model.features[1:](theirs).mean((2, 3))
        torch.testing.assert_close(published.backbone.run(theirs.clone(), 1).mean((2, 3)), later, atol=1e-4, rtol=1e-4)
    assert published.classifier[0].shape == (CLASSES, published.backbone.spec.feature_dim)


def test_torchvisions_counts() -> None:
    assert load_spec("torchvision-mbv2-w1.00").weights == 2_189_760  # 2,223,872 parameters less those of BatchNorm
    assert load_spec("mbv2-w0.35-nomix").macs == 16_646_912
    with pytest.raises(ConfigurationError, match="residual"):
        load_spec("torchvision-mbv2-w0.10")
    with pytest.raises(ConfigurationError, match="unknown"):
        load_spec("mcunet-5fps-nomix")


def damaged(state: dict[str, Tensor], change: str) -> dict[str, object]:
    if change == "missing":
        return {key: value for key, value in state.items() if key != "blocks.3.depthwise.bias"}
    if change == "shape":
        return state | {"blocks.3.depthwise.bias": torch.zeros(3)}
    if change == "weight shape":
        return state | {
            "blocks.5.pointwise1.weight": torch.zeros(3, 24, 1, 1),
            "blocks.5.pointwise1.bias": torch.zeros(3),
        }
    if change == "no weight":
        return {key: value for key, value in state.items() if key != "blocks.3.depthwise.weight"}
    if change == "flat":
        return state | {"classifier.weight": torch.zeros(CLASSES), "classifier.bias": torch.tensor(0.0)}
    if change == "classifier nan":
        return state | {"classifier.weight": state["classifier.weight"] * float("inf")}
    if change == "nan":
        return state | {"first_conv.weight": state["first_conv.weight"] * float("nan")}
    if change == "classifier":
        return state | {"classifier.weight": torch.zeros(CLASSES, 5)}
    return state | {"version": 3}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("missing", r"blocks\.3\.depthwise\.bias"),
        ("shape", r"blocks\.3\.depthwise\.bias.*\(3,\), it needs .* 48"),
        ("no weight", r"blocks\.3\.depthwise\.weight.*missing"),
        ("weight shape", r"block05\.pw1 has weights \(3, 24, 1, 1\)"),
        ("flat", r"classifier\.weight.*\(7,\)"),
        ("classifier nan", "classifier.*not finite"),
        ("nan", "not finite"),
        ("classifier", "5 features"),
        ("other", "other than tensors"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(change: str, named: str, tmp_path: Path) -> None:
    state = folded_state(random_backbone(load_spec("mcunet-5fps")))
    torch.save(damaged(state, change), tmp_path / "w.pt")
    with pytest.raises(BackboneError, match=named):
        read_published(tmp_path / "w.pt")


@pytest.mark.parametrize("part", ["bias", "w_scales"])
def test_an_archive_with_a_wrong_length_names_the_tensor(part: str, tmp_path: Path) -> None:
    write_int8(folded_state(random_backbone(load_spec("mcunet-5fps"))), tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as archive:
        arrays = dict(archive)
    name = f"blocks.2.pointwise2.params.{part}"
    np.savez(tmp_path / "w.npz", **arrays | {name: arrays[name][:-1]})
    with pytest.raises(BackboneError, match=part):
        read_published(tmp_path / "w.npz")


def test_files_with_flipped_bytes_are_typed_errors_or_backbones(tmp_path: Path) -> None:
    torch.save(folded_state(random_backbone(load_spec("mcunet-5fps"))), tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged_bytes = bytearray(whole)
        for place in (*rng.integers(2000, size=3), *rng.integers(len(whole) - 4000, len(whole), size=3)):
            damaged_bytes[place] = int(rng.integers(256))
        (tmp_path / "d.pt").write_bytes(damaged_bytes)
        with contextlib.suppress(BackboneError):
            read_published(tmp_path / "d.pt")


def test_a_wrong_architecture_is_named(tmp_path: Path) -> None:
    torch.save(folded_state(random_backbone(load_spec("mcunet-5fps"))), tmp_path / "w.pt")
    with pytest.raises(BackboneError, match=r"mbv2-w0\.35-nomix needs"):
        read_published(tmp_path / "w.pt", "mbv2-w0.35-nomix")
    with pytest.raises(ConfigurationError, match="feature mix"):
        read_published(tmp_path / "w.pt", "mbv2-w0.35")
    torch.save({"first_conv.weight": torch.zeros(1)}, tmp_path / "odd.pt")
    with pytest.raises(BackboneError, match="none of"):
        read_published(tmp_path / "odd.pt")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(Evil.folder),)

    folder = Path("unset")


@pytest.mark.parametrize("name", ["w.pt", "w.npz", "w.safetensors"])
def test_nothing_in_a_file_is_executed(name: str, tmp_path: Path) -> None:
    Evil.folder = tmp_path / "executed"
    if name == "w.npz":
        np.savez(tmp_path / name, __config__=np.array([Evil()], dtype=object))
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(BackboneError):
        read_published(tmp_path / name)
    assert not Evil.folder.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04junk", b"\x80\x02}q\x00.", b"\xff" * 100])
@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
def test_junk_is_a_typed_error(content: bytes, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"junk{suffix}").write_bytes(content)
    with pytest.raises(TinyTrainError):
        read_published(tmp_path / f"junk{suffix}")
    with pytest.raises(ConfigurationError, match="no weights"):
        read_published(tmp_path / f"absent{suffix}")


def test_a_start_without_feature_mix_gets_a_random_one(tmp_path: Path) -> None:
    plain = random_backbone(load_spec("mbv2-w0.35-nomix"))
    torch.save(folded_state(plain), tmp_path / "w.pt")
    spec = load_spec("mbv2-w0.35")
    first, again, other = (read_start(tmp_path / "w.pt", spec, seed) for seed in (0, 0, 1))
    assert first.spec == spec
    assert torch.equal(first.weights[-1], again.weights[-1])
    assert not torch.equal(first.weights[-1], other.weights[-1])
    assert all(torch.equal(a, b) for a, b in zip(first.weights, plain.weights, strict=False))
    assert first.embed(torch.randn(1, 3, 64, 64)).std() > 0
    with pytest.raises(BackboneError, match="the run needs a mcunet-5fps"):
        read_start(tmp_path / "w.pt", load_spec("mcunet-5fps"), 0)


def test_every_architecture_that_has_a_mix_can_go_without() -> None:
    for name in backbone_names():
        spec = load_spec(name)
        if spec.convs[-1].kind == "mix":
            assert load_spec(f"{name}-nomix").convs == spec.convs[:-1]
