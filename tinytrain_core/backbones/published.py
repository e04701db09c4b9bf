"""ImageNet weights that others published, as backbones: three layouts, none of them read by executing anything.

- `int8`: MIT's tiny-training models as a numpy archive of int8 weights, int32 biases and scales. A weight is
  its integer times its channel's scale; a bias is its integer times the input's scale times that.
- `folded`: the same dequantised, `first_conv`, `blocks.I.{pointwise1,depthwise,pointwise2}`, `classifier`.
- `torchvision`: the state dict of torchvision's MobileNetV2, BatchNorm and all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.published_files import BLOCK_PARTS, read_tensors
from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec, backbone_names, load_spec
from tinytrain_core.backbones.variants import NO_MIX, torchvision_name
from tinytrain_core.errors import BackboneError, ConfigurationError

NORM_EPS = 1e-5
# What torchvision's weights expect of pixels in [0, 1]; ours are x / 127.5 - 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TORCHVISION_WIDTHS = tuple(round(0.3 + 0.05 * k, 2) for k in range(35))

Layer = tuple[Tensor, Tensor]  # weight and bias
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Published:
    """Published weights.

    Attributes:
        classifier: weight (classes, D) and bias (classes,).
        layout: int8, folded or torchvision.
        input_scaling: what the weights were trained on, and what was done about it.
    """

    backbone: Backbone
    classifier: Layer
    layout: str
    input_scaling: str

    def classify(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, R, R) in [-1, 1]."""
        weight, bias = self.classifier
        return self.backbone.embed(images) @ weight.t() + bias


def _tensor(tensors: Tensors, name: str) -> Tensor:
    if name not in tensors:
        raise BackboneError(f"tensor {name!r} is missing")
    return tensors[name]


def _plain_name(conv: ConvSpec) -> str:
    return "first_conv" if conv.kind == "stem" else f"blocks.{conv.block}.{BLOCK_PARTS[conv.kind]}"


def _folded_layer(tensors: Tensors, name: str) -> Layer:
    return _tensor(tensors, f"{name}.weight").float(), _tensor(tensors, f"{name}.bias").float()


def _dequantised_layer(tensors: Tensors, name: str) -> Layer:
    integers, bias = (_tensor(tensors, f"{name}.params.{part}").double() for part in ("weight", "bias"))
    scales = _tensor(tensors, f"{name}.params.w_scales").double()
    bias_scales = scales * _tensor(tensors, f"{name}.x_scale")
    return (integers * scales.view(-1, *[1] * (integers.ndim - 1))).float(), (bias * bias_scales).float()


def _torchvision_names(conv: ConvSpec, blocks: int) -> tuple[str, str]:
    """The names of a convolution and of its BatchNorm."""
    if conv.kind in ("stem", "mix"):
        number = 0 if conv.kind == "stem" else blocks
        return f"features.{number}.0", f"features.{number}.1"
    place = 0 if conv.block == 0 else 1  # the first block has no expansion
    if conv.kind == "pw2":
        return f"features.{conv.block + 1}.conv.{place + 1}", f"features.{conv.block + 1}.conv.{place + 2}"
    inner = place if conv.kind == "dw" else 0
    return f"features.{conv.block + 1}.conv.{inner}.0", f"features.{conv.block + 1}.conv.{inner}.1"


def _normed_layer(tensors: Tensors, conv: ConvSpec, blocks: int) -> Layer:
    name, norm = _torchvision_names(conv, blocks)
    mean, variance = _tensor(tensors, f"{norm}.running_mean"), _tensor(tensors, f"{norm}.running_var")
    scale = _tensor(tensors, f"{norm}.weight") / torch.sqrt(variance + NORM_EPS)
    weight = _tensor(tensors, f"{name}.weight") * scale.view(-1, 1, 1, 1)
    return weight, _tensor(tensors, f"{norm}.bias") - mean * scale


def _rescale_input(layer: Layer) -> Layer:
    """A stem for ImageNet's mean and deviation as one for [-1, 1]; exact but where the padding is seen."""
    weight, bias = layer
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return weight * (0.5 / std), bias + (weight * ((0.5 - mean) / std)).sum((1, 2, 3))


def _assemble(spec: BackboneSpec, layer_of: Callable[[ConvSpec], Layer]) -> Backbone:
    """Check every shape and number.

    Raises:
        BackboneError: a tensor is missing, of another shape, or not finite.
    """
    layers = []
    for conv in spec.convs:
        weight, bias = layer_of(conv)
        if tuple(weight.shape) != conv.weight_shape or tuple(bias.shape) != (conv.out_channels,):
            raise BackboneError(
                f"{conv.name} has weights {tuple(weight.shape)} and biases {tuple(bias.shape)}, "
                f"{spec.name} needs {conv.weight_shape} and {(conv.out_channels,)}"
            )
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise BackboneError(f"{conv.name} holds numbers that are not finite")
        layers.append((weight.contiguous(), bias.contiguous()))
    return Backbone(spec, tuple(w for w, _ in layers), tuple(b for _, b in layers))


def _classifier(layer: Layer, spec: BackboneSpec) -> Layer:
    weight, bias = layer[0].flatten(1), layer[1]
    if weight.shape[1] != spec.feature_dim or len(bias) != len(weight):
        raise BackboneError(
            f"the classifier takes {weight.shape[1]} features and has {len(bias)} biases for {len(weight)} classes, "
            f"{spec.name} gives {spec.feature_dim} features"
        )
    return weight, bias


def _stem_and_blocks(spec: BackboneSpec) -> list[tuple[int, ...]]:
    return [conv.weight_shape for conv in spec.convs if conv.kind != "mix"]


def _guess(shapes: set[tuple[int, ...]], candidates: list[str]) -> str:
    """The architecture, of the candidates, whose every weight shape is there.

    Raises:
        BackboneError: none is.
    """
    found = [name for name in candidates if shapes.issuperset(_stem_and_blocks(load_spec(name)))]
    if not found:
        raise BackboneError(
            f"the {len(shapes)} different shapes in this file are those of none of {', '.join(candidates)}"
        )
    return max(found, key=lambda name: len(_stem_and_blocks(load_spec(name))))


def _without_mix(name: str) -> str:
    return name + NO_MIX if load_spec(name).convs[-1].kind == "mix" else name


def read_published(file: Path, architecture: str = "") -> Published:
    """Read published weights.

    Args:
        architecture: by default the one that fits the tensors' shapes.

    Raises:
        ConfigurationError: there is no such file or architecture.
        BackboneError: the file cannot be read, or does not fit the architecture.
    """
    tensors = read_tensors(file)
    shapes = {tuple(tensor.shape) for tensor in tensors.values()}
    if "features.0.0.weight" in tensors:
        spec = load_spec(architecture or _guess(shapes, [torchvision_name(w) for w in TORCHVISION_WIDTHS]))
        return _torchvision(tensors, spec)
    spec = load_spec(architecture or _guess(shapes, [_without_mix(name) for name in backbone_names()]))
    if spec.convs[-1].kind == "mix":
        raise ConfigurationError(f"these weights have no feature mix; give {spec.name}{NO_MIX}")
    layer, layout = (_dequantised_layer, "int8") if file.suffix == ".npz" else (_folded_layer, "folded")
    backbone = _assemble(spec, lambda conv: layer(tensors, _plain_name(conv)))
    return Published(backbone, _classifier(layer(tensors, "classifier"), spec), layout, "x / 127.5 - 1, as ours")


def _torchvision(tensors: Tensors, spec: BackboneSpec) -> Published:
    blocks = spec.blocks

    def layer(conv: ConvSpec) -> Layer:
        plain = _normed_layer(tensors, conv, blocks)
        return _rescale_input(plain) if conv.kind == "stem" else plain

    backbone = _assemble(spec, layer)
    scaling = "ImageNet's mean and deviation, folded into the stem; exact but at the padded border"
    return Published(backbone, _classifier(_folded_layer(tensors, "classifier.1"), spec), "torchvision", scaling)
