"""What is updated of a convolution: biases of some output channels, and weights from some input channels to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec
from tinytrain_core.errors import BackboneError


class Share(NamedTuple):
    """How much of a convolution is updated: output channels, and the input channels of each of them.

    Of a depthwise convolution an output channel has one input channel, its own. No input channels: biases only.
    """

    outputs: int
    inputs: int

    def weights(self, conv: ConvSpec) -> int:
        """Updated weights."""
        return self.outputs * self.inputs * conv.kernel**2

    def parameters(self, conv: ConvSpec) -> int:
        """Updated weights and biases."""
        return self.weights(conv) + self.outputs

    def part_of_inputs(self, conv: ConvSpec) -> bool:
        """Whether weights from some input channels are updated and from others are not."""
        return 0 < self.inputs < conv.inputs_per_channel


@dataclass(frozen=True)
class Extent:
    """How much of a backbone is updated, as far as costs depend on it.

    Attributes:
        shares: of convolutions, by index.
        adapters: blocks with a lite residual, which is trained whole.
    """

    shares: Mapping[int, Share]
    adapters: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.shares)

    @property
    def first(self) -> int:
        """The earliest convolution whose output gradient is wanted."""
        return min(self.shares)


NOTHING = Extent({})


@dataclass(frozen=True)
class Update:
    """The updated channels of a convolution, ascending.

    Attributes:
        inputs: None is all of them; none at all leaves the weights as they are.
    """

    outputs: tuple[int, ...]
    inputs: tuple[int, ...] | None = None

    def share(self, conv: ConvSpec) -> Share:
        return Share(len(self.outputs), conv.inputs_per_channel if self.inputs is None else len(self.inputs))

    def simplified(self, conv: ConvSpec) -> "Update":
        """The same, with None where it names all input channels."""
        return Update(self.outputs) if self.share(conv).inputs == conv.inputs_per_channel else self

    def check(self, conv: ConvSpec) -> None:
        """Make sure that these are channels of a convolution.

        Raises:
            BackboneError: they are not, or there are none.
        """
        if not self.outputs:
            raise BackboneError(f"a plan of no channels of {conv.name}")
        for chosen, of in ((self.outputs, conv.out_channels), (self.inputs or (), conv.inputs_per_channel)):
            if len(set(chosen)) < len(chosen) or any(not 0 <= channel < of for channel in chosen):
                raise BackboneError(f"a plan of {len(chosen)} channels of {conv.name} that are not its own {of}")


def _indices(channels: tuple[int, ...], device: torch.device) -> Tensor:
    """(k,), in memory that a `LiveBytes` sees."""
    return torch.empty(len(channels), dtype=torch.int64, device=device).copy_(torch.tensor(channels))


@dataclass(frozen=True)
class Chosen:
    """An update as indices: output channels (k,), and input channels (j,) or None for all of them."""

    outputs: Tensor
    inputs: Tensor | None = field(default=None)

    @classmethod
    def of(cls, update: Update, device: torch.device) -> "Chosen":
        return cls(_indices(update.outputs, device), None if update.inputs is None else _indices(update.inputs, device))

    @property
    def biases_only(self) -> bool:
        return self.inputs is not None and not len(self.inputs)

    def shape(self, conv: ConvSpec) -> tuple[int, int, int, int]:
        """Of the updated weights: (k, j, kernel, kernel)."""
        inputs = conv.inputs_per_channel if self.inputs is None else len(self.inputs)
        return (len(self.outputs), inputs, conv.kernel, conv.kernel)

    def read(self, weight: Tensor) -> Tensor:
        """The updated weights (k, j, kernel, kernel) out of all (out, in / groups, kernel, kernel)."""
        rows = weight.index_select(0, self.outputs)
        return rows if self.inputs is None else rows.index_select(1, self.inputs)

    def write_(self, weight: Tensor, values: Tensor) -> Tensor:
        """Put updated weights where they belong, in place."""
        if self.inputs is None:
            return weight.index_copy_(0, self.outputs, values)
        weight[self.outputs[:, None], self.inputs] = values
        return weight


def rows(spec: BackboneSpec, counts: Mapping[int, int]) -> Extent:
    """So many whole output channels of each convolution."""
    return Extent({index: Share(n, spec.convs[index].inputs_per_channel) for index, n in counts.items()})


def whole(channels: Mapping[int, tuple[int, ...]]) -> dict[int, Update]:
    """Updates of whole output channels."""
    return {index: Update(chosen) for index, chosen in channels.items()}


def extent_of(spec: BackboneSpec, updates: Mapping[int, Update], adapters: tuple[int, ...] = ()) -> Extent:
    """How much updates are."""
    return Extent({index: update.share(spec.convs[index]) for index, update in updates.items()}, adapters)


def biases(conv: ConvSpec) -> Update:
    """The biases of a convolution."""
    return Update(every_output(conv), ())


def every_output(conv: ConvSpec) -> tuple[int, ...]:
    """All output channels."""
    return tuple(range(conv.out_channels))
