"""What personalising changes: the updated slices, small enough to keep for each release and device."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.errors import BackboneError

FORMAT = "tinytrain-delta-1"


@dataclass(frozen=True)
class Delta:
    """New values of chosen output channels, by convolution index.

    Attributes:
        channels: output channel indices (k,).
        weights: (k, in / groups, kernel, kernel). biases: (k,).
    """

    spec: BackboneSpec
    channels: Mapping[int, Tensor]
    weights: Mapping[int, Tensor]
    biases: Mapping[int, Tensor]

    def apply(self, backbone: Backbone) -> Backbone:
        """The backbone with these values in place; the given one is left as it is.

        Raises:
            BackboneError: the backbone is of another architecture.
        """
        if backbone.spec.name != self.spec.name:
            raise BackboneError(f"a delta of {self.spec.name} cannot be applied to {backbone.spec.name}")
        weights, biases = list(backbone.weights), list(backbone.biases)
        for index, channels in self.channels.items():
            weights[index] = weights[index].index_copy(0, channels, self.weights[index])
            biases[index] = biases[index].index_copy(0, channels, self.biases[index])
        return Backbone(backbone.spec, tuple(weights), tuple(biases), backbone.head_scale)

    def to_bytes(self) -> bytes:
        """Serialise to safetensors."""
        tensors: dict[str, Tensor] = {}
        for index, channels in self.channels.items():
            name = self.spec.convs[index].name
            tensors[f"{name}.channels"] = channels
            tensors[f"{name}.weight"] = self.weights[index].contiguous()
            tensors[f"{name}.bias"] = self.biases[index]
        header = {"format": FORMAT, "architecture": self.spec.name}
        return safetensors.torch.save(tensors, {"tinytrain": json.dumps(header, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes, spec: BackboneSpec) -> "Delta":
        """Read a delta of the given architecture.

        Raises:
            BackboneError: the bytes are damaged, or do not fit the architecture.
        """
        try:
            tensors = safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise BackboneError(f"the delta cannot be read: {error}") from error
        chosen = [conv for conv in spec.convs if f"{conv.name}.channels" in tensors]
        delta = cls(
            spec,
            {c.index: tensors[f"{c.name}.channels"] for c in chosen},
            {c.index: tensors.get(f"{c.name}.weight", torch.empty(0)) for c in chosen},
            {c.index: tensors.get(f"{c.name}.bias", torch.empty(0)) for c in chosen},
        )
        delta._check(len(tensors))
        return delta

    def _check(self, n_tensors: int) -> None:
        if n_tensors != 3 * len(self.channels):
            raise BackboneError(f"the delta has tensors that {self.spec.name} does not have")
        for index, channels in self.channels.items():
            conv, k = self.spec.convs[index], len(channels)
            shapes = tuple(self.weights[index].shape), tuple(self.biases[index].shape)
            if shapes != ((k, *conv.weight_shape[1:]), (k,)):
                raise BackboneError(f"the delta of {conv.name} has shapes {shapes}, which do not fit {k} channels")
            if k and not 0 <= int(channels.min()) <= int(channels.max()) < conv.out_channels:
                raise BackboneError(f"the delta of {conv.name} names channels that it does not have")
