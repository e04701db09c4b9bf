"""The memory of a SparseUpdate scheme as its authors count it (Lin et al. 2022): int8 training of one image.

Updated weights, saved inputs and the last features take one byte each, updated biases four, and each convolution in the
range of the biases keeps one bit for each element of its output. The published schemes are named after it.
"""

from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.engine.ops import BITS
from tinytrain_core.selection.cost import FLOAT_BYTES
from tinytrain_core.selection.methods.sparse_update import Scheme, counted_convs, scheme_shares

KIB = 1024


def scheme_bytes(spec: BackboneSpec, scheme: Scheme) -> int:
    """Bytes, the feature mix apart, which the published networks lack."""
    convs = counted_convs(spec)
    biased = convs[len(convs) - scheme.biases :]
    biases = sum(FLOAT_BYTES * conv.out_channels + conv.out_elements // BITS for conv in biased)
    weights = 0
    for index in scheme.weights:
        conv, share = spec.convs[index], scheme_shares(spec, scheme)[index]
        inputs = share.outputs if conv.depthwise else share.inputs
        weights += share.weights(conv) + inputs * conv.in_size**2
    return biases + weights + convs[-1].out_channels
