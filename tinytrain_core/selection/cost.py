"""The ledger: parameters, MACs and bytes of updating chosen channels, layer by layer.

Two memory figures stand side by side. `paper` is TinyTrain's Table 2: 16 B per updated weight (weight,
gradient, two Adam moments) plus the largest input + output / groups of any convolution in fp32, batch 1.
`live` is every tensor alive at the worst moment of the step that the engine really runs, frozen weights
and the images in storage apart.

Backward MACs of one image are those of dL/dx of every layer behind the earliest chosen one, plus those of
dL/dw of the chosen channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.errors import BudgetError

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Budget:
    """What a device may spend.

    Attributes:
        memory_bytes: live bytes at any moment.
        backward_macs: per step and image.
        storage_bytes: of features in a file; 0 keeps none there.
    """

    memory_bytes: int
    backward_macs: int
    storage_bytes: int = 0

    def __post_init__(self) -> None:
        if self.memory_bytes <= 0 or self.backward_macs < 0 or self.storage_bytes < 0:
            raise BudgetError(
                f"a budget needs memory, and no negative MACs or storage, not {self.memory_bytes} B, "
                f"{self.backward_macs} MACs and {self.storage_bytes} B"
            )


Channels = Mapping[int, int]  # convolution index -> updated output channels


def updated_parameters(spec: BackboneSpec, channels: Channels) -> int:
    """Updated weights and biases."""
    return sum(n * (spec.convs[i].weights_per_channel + 1) for i, n in channels.items())


def updated_weights(spec: BackboneSpec, channels: Channels) -> int:
    """Updated weights without biases, as the paper counts them."""
    return sum(n * spec.convs[i].weights_per_channel for i, n in channels.items())


def input_gradient_macs(spec: BackboneSpec, first: int) -> int:
    """MACs of dL/dx from the output back to the output of convolution `first`, for one image."""
    return sum(conv.macs for conv in spec.convs[first + 1 :])


def backward_macs(spec: BackboneSpec, channels: Channels) -> int:
    """Backward MACs of one step and image."""
    if not channels:
        return 0
    return input_gradient_macs(spec, min(channels)) + weight_gradient_macs(spec, channels)


def weight_gradient_macs(spec: BackboneSpec, channels: Channels) -> int:
    """MACs of dL/dw of the chosen channels, for one image; their share of the forward pass costs the same."""
    return sum(n * spec.convs[i].macs // spec.convs[i].out_channels for i, n in channels.items())


def full_train_backward_macs(spec: BackboneSpec) -> int:
    """FullTrain as the paper charges it: twice the forward pass, dL/dx of the stem included."""
    return 2 * spec.macs


def forward_peak_bytes(spec: BackboneSpec) -> int:
    """The largest input + output / groups of a convolution, one image in fp32 (the TinyTL profiler's rule)."""
    return FLOAT_BYTES * max(conv.in_elements + conv.out_elements // conv.groups for conv in spec.convs)


def paper_memory_bytes(spec: BackboneSpec, channels: Channels, batch: int = 1) -> int:
    """Table 2's rule for the sparse methods: 16 B x updated weights + the forward peak."""
    return 4 * FLOAT_BYTES * updated_weights(spec, channels) + batch * forward_peak_bytes(spec)
