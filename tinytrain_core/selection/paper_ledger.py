"""What the rows of TinyTrain's Table 2 are sums of, as far as `cost` does not have it; and the sum that they leave out.

The paper prints figures and no formulas: these were found by calculation. It charges FullTrain and TinyTL for a batch
of 100, the other methods for one image and for no saved activation.
"""

from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec
from tinytrain_core.engine.adapters import LiteShape, lite_shape
from tinytrain_core.engine.ops import BITS
from tinytrain_core.engine.update import Extent, Share
from tinytrain_core.selection.cost import (
    FLOAT_BYTES,
    MIB,
    forward_peak_bytes,
    input_gradient_macs,
    updated_parameters,
    weight_gradient_macs,
)

BATCH = 100
COPIES = 4  # of a trained value: itself, its gradient, two moments of Adam


def full_train_memory_bytes(spec: BackboneSpec, batch: int = BATCH) -> int:
    """FullTrain: the inputs of every convolution, BatchNorm and ReLU6, and 16 B a weight."""
    inputs = sum(c.in_elements + c.out_elements + (c.out_elements if c.relu6 else 0) for c in spec.convs)
    return batch * FLOAT_BYTES * inputs + COPIES * FLOAT_BYTES * spec.weights


def sparse_update_macs(spec: BackboneSpec, extent: Extent) -> int:
    """SparseUpdate: dL/dx ends at the earliest updated weights, as if biases before them were for nothing."""
    first = min(index for index, share in extent.shares.items() if share.inputs)
    return input_gradient_macs(spec, first) + weight_gradient_macs(spec, extent)


def implied_weights(spec: BackboneSpec, memory_mib: float) -> int:
    """The updated weights that a sparse method's figure of the memory means."""
    return round((memory_mib * MIB - forward_peak_bytes(spec)) / (COPIES * FLOAT_BYTES))


def saving_memory_bytes(spec: BackboneSpec, extent: Extent, batch: int = 1) -> int:
    """The rule of the sparse methods with what a backward pass reads: saved inputs and one bit for each ReLU6.

    Biases, and scales of lite residuals, are charged like weights.
    """
    saved = sum(_saved_elements(spec.convs[index], share) for index, share in extent.shares.items())
    saved += sum(_branch_elements(lite_shape(spec, block)) for block in extent.adapters)
    masks = sum(conv.out_elements for conv in spec.convs[extent.first :] if conv.relu6)
    masks += sum(_hidden_elements(lite_shape(spec, block)) for block in extent.adapters)
    activations = forward_peak_bytes(spec) + FLOAT_BYTES * saved + masks // BITS
    return COPIES * FLOAT_BYTES * updated_parameters(spec, extent) + batch * activations


def _saved_elements(conv: ConvSpec, share: Share) -> int:
    """Of the input, as far as the gradient of the updated weights needs it."""
    channels = share.outputs if conv.depthwise and share.inputs else share.inputs
    return channels * conv.in_size**2


def _hidden_elements(shape: LiteShape) -> int:
    return shape.in_channels * shape.inner**2


def _branch_elements(shape: LiteShape) -> int:
    """Inputs of both convolutions and of both norms of a lite residual."""
    pooled, out = shape.in_channels * shape.pooled**2, shape.out_channels * shape.inner**2
    return pooled + 2 * _hidden_elements(shape) + out
