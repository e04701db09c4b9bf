"""Where a federation begins: the fleet's backbone, or random weights of its architecture.

Random weights are normal with the variance 2 / fan-in before a ReLU6 and 1 / fan-in elsewhere (He et al. 2015), biases
are 0. Normalising the layers by the statistics of noise or of a device's own images instead left training from scratch
on a few dozen images where it was: near chance.
"""

import torch

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.seeds import Draw, torch_generator


def random_weights(spec: BackboneSpec, seed: int) -> Backbone:
    """Untrained weights; the same seed gives the same on every machine."""
    generator = torch_generator(seed, Draw.RANDOM_BACKBONE)
    weights = tuple(
        torch.randn(conv.weight_shape, generator=generator)
        * ((2.0 if conv.relu6 else 1.0) / conv.weights_per_channel) ** 0.5
        for conv in spec.convs
    )
    return Backbone(spec, weights, tuple(torch.zeros(conv.out_channels) for conv in spec.convs))


def _named(backbone: str, seed: int) -> Backbone:
    return from_bytes(read_bytes(backbone))


def _random(backbone: str, seed: int) -> Backbone:
    return random_weights(_named(backbone, seed).spec, seed)


STARTS = {"backbone": _named, "random": _random}


def start_backbone(start: str, backbone: str, seed: int) -> Backbone:
    """What a federation begins with; `start` is a key of `STARTS`, `backbone` as `read_bytes` takes it.

    Raises:
        ConfigurationError, BackboneError: there is no such backbone, or it is damaged.
    """
    return STARTS[start](backbone, seed)
