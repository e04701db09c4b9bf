"""What a run starts from: a backbone of this project, or published weights, which may lack the feature mix."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.published import read_published
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.backbones.variants import NO_MIX
from tinytrain_core.backbones.weights import from_bytes, is_backbone_file, read_bytes
from tinytrain_core.errors import BackboneError
from tinytrain_core.seeds import Draw, torch_generator

MIX_SCALE = 0.5  # keeps the features of the published weights, of root mean square 3, mostly below 6


def _signed_rotations(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Random rotations and their negatives, (rows, columns), which a ReLU takes no information from.

    x = relu(x) - relu(-x), so that nearest prototypes are as good behind the mix as before it from the start. The
    usual random weights (He et al. 2015) cost the published MobileNetV2 two points on
    miniImageNet's validation classes before any training.
    """
    turns = -(-rows // (2 * columns))
    rotations = [torch.linalg.qr(torch.randn(columns, columns, generator=generator))[0] for _ in range(turns)]
    return torch.cat([part for rotation in rotations for part in (rotation, -rotation)])[:rows]


def add_mix(backbone: Backbone, spec: BackboneSpec, seed: int) -> Backbone:
    """The backbone, and `spec`'s feature mix: signed rotations, no bias. Only what ReLU6 cuts at 6 is lost."""
    mix = spec.convs[-1]
    rotations = _signed_rotations(mix.out_channels, mix.in_channels, torch_generator(seed, Draw.INITIALISATION))
    weights = (*backbone.weights, (MIX_SCALE * rotations).view(mix.weight_shape))
    return replace(backbone, spec=spec, weights=weights, biases=(*backbone.biases, torch.zeros(mix.out_channels)))


def read_start(file: Path, spec: BackboneSpec, seed: int) -> Backbone:
    """The backbone that a run of architecture `spec` starts from.

    Raises:
        ConfigurationError: there is no such file.
        BackboneError: it cannot be read, or is of another architecture.
    """
    found = from_bytes(read_bytes(file)) if is_backbone_file(file) else read_published(file).backbone
    if found.spec == spec:
        return found
    if found.spec.name == spec.name + NO_MIX:
        return add_mix(found, spec, seed)
    raise BackboneError(f"{file} is a {found.spec.name}, the run needs a {spec.name}")
