"""The ledger: parameters, MACs and bytes of updating chosen channels, layer by layer.

Two memory figures stand side by side. `paper` is TinyTrain's Table 2: 16 B per updated weight (weight,
gradient, two Adam moments) plus the largest input + output / groups of any convolution in fp32, batch 1.
`live` is every tensor alive at the worst moment of the step that the engine really runs, frozen weights
and the images in storage apart.

Backward MACs of one image are those of dL/dx of every layer behind the earliest chosen one, plus those of
dL/dw of the chosen channels.
"""

from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.engine.adapters import lite_shape
from tinytrain_core.engine.update import Extent
from tinytrain_core.selection.budget import Budget as Budget

FLOAT_BYTES = 4
MIB = 2**20
UNLIMITED = 2**50
COMPUTE_SHARE = 0.15  # of FullTrain's backward MACs, as the paper has it
MEMORY_MIB = 1.0
HEADROOM_MIB = 0.25  # above the forward peak, where that is close to the cap


def updated_weights(spec: BackboneSpec, extent: Extent) -> int:
    """Updated weights without biases, as the paper counts them; those of lite residuals' convolutions included."""
    branches = sum(lite_shape(spec, block).weights for block in extent.adapters)
    return branches + sum(share.weights(spec.convs[i]) for i, share in extent.shares.items())


def updated_parameters(spec: BackboneSpec, extent: Extent) -> int:
    """Updated weights, biases and scales."""
    branches = sum(lite_shape(spec, block).parameters for block in extent.adapters)
    return branches + sum(share.parameters(spec.convs[i]) for i, share in extent.shares.items())


def input_gradient_macs(spec: BackboneSpec, first: int) -> int:
    """MACs of dL/dx from the output back to the output of convolution `first`, for one image."""
    return sum(conv.macs for conv in spec.convs[first + 1 :])


def backward_macs(spec: BackboneSpec, extent: Extent) -> int:
    """Backward MACs of one step and image; a lite residual costs as much again for dL/dx as for dL/dw."""
    if not extent:
        return 0
    branches = 2 * branch_macs(spec, extent)
    return input_gradient_macs(spec, extent.first) + weight_gradient_macs(spec, extent) + branches


def branch_macs(spec: BackboneSpec, extent: Extent) -> int:
    """MACs of the forward pass of the lite residuals, for one image."""
    return sum(lite_shape(spec, block).macs for block in extent.adapters)


def weight_gradient_macs(spec: BackboneSpec, extent: Extent) -> int:
    """MACs of dL/dw of the backbone's chosen weights, for one image; their share of the forward pass costs the same."""
    return sum(share.weights(spec.convs[i]) * spec.convs[i].out_size ** 2 for i, share in extent.shares.items())


def full_train_backward_macs(spec: BackboneSpec) -> int:
    """FullTrain as the paper charges it: twice the forward pass, dL/dx of the stem included."""
    return 2 * spec.macs


def forward_peak_bytes(spec: BackboneSpec) -> int:
    """The largest input + output / groups of a convolution, one image in fp32 (the TinyTL profiler's rule)."""
    return FLOAT_BYTES * max(conv.in_elements + conv.out_elements // conv.groups for conv in spec.convs)


def paper_memory_bytes(spec: BackboneSpec, extent: Extent, batch: int = 1) -> int:
    """Table 2's rule for the sparse methods: 16 B x updated weights + the forward peak."""
    return 4 * FLOAT_BYTES * updated_weights(spec, extent) + batch * forward_peak_bytes(spec)


def study_budget(spec: BackboneSpec, compute_share: float = COMPUTE_SHARE, memory_mib: float = MEMORY_MIB) -> Budget:
    """The paper's budget: a share of FullTrain's MACs, and max(`memory_mib`, forward peak + 0.25 MiB) in its ledger.

    MobileNetV2's 1.06 MiB in Table 2 shows that the paper's own cap is not a hard 1 MiB.
    """
    cap = max(int(memory_mib * MIB), forward_peak_bytes(spec) + int(HEADROOM_MIB * MIB))
    return Budget(UNLIMITED, int(compute_share * full_train_backward_macs(spec)), 0, cap)
