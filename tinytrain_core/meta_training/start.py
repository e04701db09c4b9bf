"""What a run starts from: a backbone of this project, or published weights, which may lack the feature mix."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.published import read_published
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.backbones.variants import NO_MIX
from tinytrain_core.backbones.weights import from_bytes, is_backbone_file, read_bytes
from tinytrain_core.errors import BackboneError
from tinytrain_core.seeds import Draw, torch_generator


def add_mix(backbone: Backbone, spec: BackboneSpec, seed: int) -> Backbone:
    """The backbone, and `spec`'s feature mix with random weights (He et al. 2015) and no bias."""
    mix = spec.convs[-1]
    weight = torch.empty(mix.weight_shape)
    nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=torch_generator(seed, Draw.INITIALISATION))
    weights, biases = (*backbone.weights, weight), (*backbone.biases, torch.zeros(mix.out_channels))
    return replace(backbone, spec=spec, weights=weights, biases=biases)


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
