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
LEAST_SHARE = 0.5  # of an architecture's weights that have to be there to be taken for it
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


def _tensor(tensors: Tensors, name: str, dims: int = 1, length: int | None = None) -> Tensor:
    """A tensor of `dims` dimensions, the first of which has `length` elements.

    Raises:
        BackboneError: it is missing, or of another shape.
    """
    if name not in tensors:
        raise BackboneError(f"tensor {name!r} is missing")
    tensor = tensors[name]
    if tensor.ndim != dims or (length is not None and len(tensor) != length):
        wanted = f"{dims} dimensions" + ("" if length is None else f", the first of {length}")
        raise BackboneError(f"tensor {name!r} has shape {tuple(tensor.shape)}, it needs {wanted}")
    return tensor


def _plain_name(conv: ConvSpec) -> str:
    return "first_conv" if conv.kind == "stem" else f"blocks.{conv.block}.{BLOCK_PARTS[conv.kind]}"


def _folded_layer(tensors: Tensors, name: str, dims: int = 4) -> Layer:
    weight = _tensor(tensors, f"{name}.weight", dims)
    return weight.float(), _tensor(tensors, f"{name}.bias", 1, len(weight)).float()


def _dequantised_layer(tensors: Tensors, name: str, dims: int = 4) -> Layer:
    integers = _tensor(tensors, f"{name}.params.weight", dims).double()
    bias, scales = (_tensor(tensors, f"{name}.params.{part}", 1, len(integers)) for part in ("bias", "w_scales"))
    bias_scales = scales.double() * _tensor(tensors, f"{name}.x_scale", 0)
    return (integers * scales.double().view(-1, *[1] * (dims - 1))).float(), (bias.double() * bias_scales).float()


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
    weight = _tensor(tensors, f"{name}.weight", 4).float()
    mean, variance, gain, bias = (
        _tensor(tensors, f"{norm}.{part}", 1, len(weight)).float()
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    scale = gain / torch.sqrt(variance + NORM_EPS)
    return weight * scale.view(-1, 1, 1, 1), bias - mean * scale


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
    if weight.shape[1] != spec.feature_dim:
        raise BackboneError(f"the classifier takes {weight.shape[1]} features, {spec.name} gives {spec.feature_dim}")
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise BackboneError("the classifier holds numbers that are not finite")
    return weight, bias


def _guess(tensors: Tensors, candidates: list[str]) -> str:
    """The architecture, of the candidates, most of whose weights' shapes are there; `_assemble` names what is not.

    Raises:
        BackboneError: less than half of any architecture's are.
    """
    shapes = {tuple(tensor.shape) for tensor in tensors.values()}

    def share(name: str) -> tuple[float, int]:
        convs = load_spec(name).convs
        return sum(conv.weight_shape in shapes for conv in convs) / len(convs), len(convs)

    best = max(candidates, key=share)
    if share(best)[0] < LEAST_SHARE:
        raise BackboneError(f"the shapes of these {len(tensors)} tensors are those of none of {', '.join(candidates)}")
    return best


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
    if "features.0.0.weight" in tensors:
        spec = load_spec(architecture or _guess(tensors, [torchvision_name(w) for w in TORCHVISION_WIDTHS]))
        return _torchvision(tensors, spec)
    spec = load_spec(architecture or _guess(tensors, [_without_mix(name) for name in backbone_names()]))
    if spec.convs[-1].kind == "mix":
        raise ConfigurationError(f"these weights have no feature mix; give {spec.name}{NO_MIX}")
    layer, layout = (_dequantised_layer, "int8") if file.suffix == ".npz" else (_folded_layer, "folded")
    backbone = _assemble(spec, lambda conv: layer(tensors, _plain_name(conv)))
    dims = tensors["classifier.params.weight"].ndim if "classifier.params.weight" in tensors else 2
    classifier = _classifier(layer(tensors, "classifier", dims), spec)
    return Published(backbone, classifier, layout, "x / 127.5 - 1, as ours")


def _torchvision(tensors: Tensors, spec: BackboneSpec) -> Published:
    blocks = spec.blocks

    def layer(conv: ConvSpec) -> Layer:
        plain = _normed_layer(tensors, conv, blocks)
        return _rescale_input(plain) if conv.kind == "stem" else plain

    backbone = _assemble(spec, layer)
    scaling = "ImageNet's mean and deviation, folded into the stem; exact but at the padded border"
    return Published(backbone, _classifier(_folded_layer(tensors, "classifier.1", 2), spec), "torchvision", scaling)
