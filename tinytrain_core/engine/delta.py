"""What personalising changes: the updated slices, small enough to keep for each release and device."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.engine.adapters import lite_shape
from tinytrain_core.engine.update import Chosen
from tinytrain_core.errors import BackboneError

FORMAT = "tinytrain-delta-2"
BRANCH = "lite"


@dataclass(frozen=True)
class Delta:
    """New values of chosen channels, by convolution index, and of lite residuals, by block.

    Attributes:
        rows: which channels.
        weights: (k, j, kernel, kernel). biases: (k,).
        branches: parameters of `engine.adapters.branch`.
    """

    spec: BackboneSpec
    rows: Mapping[int, Chosen]
    weights: Mapping[int, Tensor]
    biases: Mapping[int, Tensor]
    branches: Mapping[int, Sequence[Tensor]] = field(default_factory=dict)

    def apply(self, backbone: Backbone) -> Backbone:
        """The backbone with these values in place, lite residuals apart; the given one is left as it is.

        Raises:
            BackboneError: the backbone is of another architecture.
        """
        if backbone.spec.name != self.spec.name:
            raise BackboneError(f"a delta of {self.spec.name} cannot be applied to {backbone.spec.name}")
        weights, biases = list(backbone.weights), list(backbone.biases)
        for index, chosen in self.rows.items():
            biases[index] = biases[index].index_copy(0, chosen.outputs, self.biases[index])
            if not chosen.biases_only:
                weights[index] = chosen.write_(weights[index].clone(), self.weights[index])
        return Backbone(backbone.spec, tuple(weights), tuple(biases), backbone.head_scale)

    @property
    def nbytes(self) -> int:
        """Of all its tensors."""
        return sum(tensor.nbytes for tensor in self._tensors().values())

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for index, chosen in self.rows.items():
            name = self.spec.convs[index].name
            tensors[f"{name}.channels"], tensors[f"{name}.bias"] = chosen.outputs, self.biases[index]
            tensors[f"{name}.weight"] = self.weights[index].contiguous()
            if chosen.inputs is not None:
                tensors[f"{name}.inputs"] = chosen.inputs
        for block, values in self.branches.items():
            tensors |= {_branch_name(block, number): value for number, value in enumerate(values)}
        return tensors

    def to_bytes(self) -> bytes:
        """Serialise to safetensors."""
        header = {"format": FORMAT, "architecture": self.spec.name}
        return safetensors.torch.save(self._tensors(), {"tinytrain": json.dumps(header, sort_keys=True)})

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
        delta = _assembled(spec, tensors)
        if set(delta._tensors()) != set(tensors):
            raise BackboneError(f"the delta has tensors that {spec.name} does not have, or lacks some")
        delta._check()
        return delta

    def _check(self) -> None:
        for index, chosen in self.rows.items():
            conv, k = self.spec.convs[index], len(chosen.outputs)
            shapes = tuple(self.weights[index].shape), tuple(self.biases[index].shape)
            if shapes != (chosen.shape(conv), (k,)):
                raise BackboneError(f"the delta of {conv.name} has shapes {shapes}, which do not fit {k} channels")
            _check_within(conv.name, chosen.outputs, conv.out_channels)
            if chosen.inputs is not None:
                _check_within(conv.name, chosen.inputs, conv.inputs_per_channel)
        for block, values in self.branches.items():
            found = tuple(tuple(value.shape) for value in values)
            if found != lite_shape(self.spec, block).shapes:
                raise BackboneError(f"the delta of the branch beside block {block} has shapes {found}, not its own")


def _branch_name(block: int, number: int) -> str:
    return f"block{block:02d}.{BRANCH}.{number}"


def _assembled(spec: BackboneSpec, tensors: Mapping[str, Tensor]) -> Delta:
    """What the tensors seem to be; absent ones are empty."""

    def get(name: str) -> Tensor:
        return tensors.get(name, torch.empty(0))

    chosen = [conv for conv in spec.convs if f"{conv.name}.channels" in tensors]
    blocks = [b for b in sorted({c.block for c in spec.convs}) if _branch_name(b, 0) in tensors]
    return Delta(
        spec,
        {c.index: Chosen(tensors[f"{c.name}.channels"], tensors.get(f"{c.name}.inputs")) for c in chosen},
        {c.index: get(f"{c.name}.weight") for c in chosen},
        {c.index: get(f"{c.name}.bias") for c in chosen},
        {b: [get(_branch_name(b, n)) for n in range(len(lite_shape(spec, b).shapes))] for b in blocks},
    )


def _check_within(name: str, channels: Tensor, of: int) -> None:
    if len(channels) and not 0 <= int(channels.min()) <= int(channels.max()) < of:
        raise BackboneError(f"the delta of {name} names channels that it does not have")
