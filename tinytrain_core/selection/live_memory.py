"""The `live` figure: the engine's step replayed on paper, allocation by allocation.

Every function here follows one of `engine/{prefix,tail,finetune}.py` or `selection/fisher.py`, tensor by
tensor; `engine/memory.py` measures what they predict. Counted are tensors of images, features, masks,
gradients, updated parameters, optimiser state, and the working copies of convolutions that are updated in
part; frozen weights and stored images are apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tinytrain_core.backbones.spec import IMAGE_CHANNELS, BackboneSpec, ConvSpec
from tinytrain_core.selection.cost import FLOAT_BYTES, Channels, updated_parameters

MASK_BYTES = 1  # of a ReLU6 mask, per element
MASK_TRANSIENTS = 3  # boolean tensors alive while a mask is made
INDEX_BYTES = 8  # of a chosen channel
HEAD_COPIES = 8  # tensors of the size of one side's embeddings while the loss goes backwards
HEAD_BYTES_PER_LOGIT = 40
VIEW_BYTES = 28  # of a drawn augmentation, per image: three factors and two shifts


class _Live:
    """A running total and its peak."""

    def __init__(self, held: int) -> None:
        self.now = self.peak = held

    def take(self, size: int) -> None:
        self.now += size
        self.peak = max(self.peak, self.now)

    def free(self, size: int) -> None:
        self.now -= size

    def moment(self, size: int) -> None:
        self.take(size)
        self.free(size)


@dataclass(frozen=True)
class Workload:
    """What a step works on.

    Attributes:
        support: images of the support set; a step has as many augmented ones again.
        ways: classes.
        optimiser_copies: optimiser state, in copies of an updated parameter (Adam has 2).
    """

    spec: BackboneSpec
    support: int
    ways: int
    optimiser_copies: int = 2

    @property
    def embedding_bytes(self) -> int:
        """The embeddings of one side, support or query."""
        return FLOAT_BYTES * self.support * self.spec.feature_dim


def _forward(live: _Live, convs: Sequence[ConvSpec], n: int) -> None:
    """Walk convolutions without a tape; the input of the first is already counted, as the output will be."""
    skip = 0
    for conv in convs:
        in_bytes, out_bytes = FLOAT_BYTES * n * conv.in_elements, FLOAT_BYTES * n * conv.out_elements
        if conv.opens_residual:
            skip = in_bytes
        live.take(out_bytes)
        if not (conv.opens_residual and skip):
            live.free(in_bytes)
        if conv.closes_residual:
            live.free(skip)
            skip = 0


def _images(live: _Live, spec: BackboneSpec, n: int) -> int:
    """An augmented batch: the image, a moved copy, and one grey channel between them; what stays is the image."""
    image = FLOAT_BYTES * n * IMAGE_CHANNELS * spec.resolution**2
    live.moment(2 * image + image // IMAGE_CHANNELS)
    live.take(image)
    return image


def _features(live: _Live, spec: BackboneSpec, start: int, n: int) -> int:
    """The prefix for n images; what stays is the tail's input."""
    _images(live, spec, n)
    _forward(live, spec.convs[:start], n)
    return FLOAT_BYTES * n * spec.convs[start].in_elements


def _taped_forward(live: _Live, convs: Sequence[ConvSpec], first: int, channels: Channels, n: int) -> None:
    """Walk the tail keeping masks from `first` on, and inputs of chosen convolutions."""
    held: dict[str, int] = {}
    in_kept = False
    for conv in convs:
        in_bytes, out_bytes = FLOAT_BYTES * n * conv.in_elements, FLOAT_BYTES * n * conv.out_elements
        chosen = channels.get(conv.index, 0)
        if conv.depthwise and chosen:
            live.take(in_bytes * chosen // conv.in_channels)
        if conv.opens_residual:
            held["skip"] = in_bytes
        live.take(out_bytes)
        if conv.relu6 and conv.index >= first:
            live.moment(MASK_TRANSIENTS * MASK_BYTES * n * conv.out_elements)
            live.take(MASK_BYTES * n * conv.out_elements)
        in_kept = bool(chosen) and not conv.depthwise
        if conv.opens_residual:
            held["kept"] = int(in_kept)
        elif not in_kept:
            live.free(in_bytes)
        if conv.closes_residual:
            live.free(0 if held.pop("kept") else held["skip"])
            del held["skip"]
    live.free(FLOAT_BYTES * n * convs[-1].out_elements)


def _backward(live: _Live, convs: Sequence[ConvSpec], first: int, channels: Channels, n: int) -> None:
    """Walk the gradient back to `first`, freeing the tape on the way."""
    live.take(FLOAT_BYTES * n * convs[-1].out_elements)
    skip = 0
    for conv in reversed([c for c in convs if c.index >= first]):
        in_bytes, out_bytes = FLOAT_BYTES * n * conv.in_elements, FLOAT_BYTES * n * conv.out_elements
        if conv.closes_residual:
            skip = out_bytes
        if conv.relu6:
            live.free(MASK_BYTES * n * conv.out_elements)
        chosen = channels.get(conv.index, 0)
        if chosen:
            live.moment(out_bytes * chosen // conv.out_channels + 2 * FLOAT_BYTES * chosen * conv.weights_per_channel)
            live.free(in_bytes * chosen // conv.in_channels if conv.depthwise else in_bytes)
        if conv.index == first:
            return
        live.take(in_bytes)
        if not (conv.closes_residual and skip):
            live.free(out_bytes)
        if conv.opens_residual and skip:
            live.free(skip)
            skip = 0


def _head_bytes(work: Workload) -> int:
    """Transients of the loss and its gradients by the embeddings."""
    return HEAD_COPIES * work.embedding_bytes + HEAD_BYTES_PER_LOGIT * work.support * work.ways


def _parameter_bytes(work: Workload, channels: Channels) -> int:
    """What a step starts with: updated slices, their gradients, the optimiser's state, working copies, the view."""
    slices = (2 + work.optimiser_copies) * FLOAT_BYTES * updated_parameters(work.spec, channels)
    chosen = [work.spec.convs[i] for i in channels]
    working_copies = FLOAT_BYTES * sum(conv.weights + conv.out_channels for conv in chosen)
    return slices + working_copies + INDEX_BYTES * sum(channels.values()) + VIEW_BYTES * work.support


def stream_step_bytes(work: Workload, channels: Channels, alive: int = 1) -> int:
    """The peak of a training step that has `alive` images alive at a time."""
    if not channels:
        return 0
    spec = work.spec
    first = min(channels)
    start = spec.block_start(first)
    # Embeddings of both sides, and their gradients, which the head makes once the images are gone.
    live = _Live(_parameter_bytes(work, channels) + 2 * work.embedding_bytes)
    live.moment(_head_bytes(work) + 2 * work.embedding_bytes)
    live.take(2 * work.embedding_bytes)
    _features(live, spec, start, alive)
    _taped_forward(live, spec.convs[start:], first, channels, alive)
    _backward(live, spec.convs[start:], first, channels, alive)
    return live.peak


def fast_step_bytes(work: Workload, channels: Channels) -> int:
    """The peak of a training step that has the whole support alive, clean and augmented, clean features kept."""
    if not channels:
        return 0
    spec, n = work.spec, work.support
    first = min(channels)
    start = spec.block_start(first)
    live = _Live(_parameter_bytes(work, channels) + 2 * work.embedding_bytes)
    one_side = FLOAT_BYTES * n * spec.convs[start].in_elements
    live.take(one_side)
    _features(live, spec, start, n)
    live.take(2 * one_side)
    live.free(one_side)
    _taped_forward(live, spec.convs[start:], first, channels, 2 * n)
    live.moment(_head_bytes(work) + 2 * work.embedding_bytes)
    live.take(2 * work.embedding_bytes)
    _backward(live, spec.convs[start:], first, channels, 2 * n)
    return live.peak


def selection_bytes(work: Workload, start: int) -> int:
    """The peak of the Fisher pass over convolutions `start` to the end, one image alive at a time."""
    spec = work.spec
    live = _Live(work.embedding_bytes)
    live.moment(_head_bytes(work) + 2 * work.embedding_bytes)
    live.take(work.embedding_bytes + FLOAT_BYTES * sum(c.out_channels for c in spec.convs[start:]))
    _features(live, spec, start, 1)
    live.free(FLOAT_BYTES * spec.convs[start].in_elements)
    _taped_outputs(live, spec.convs[start:])
    _backward_with_outputs(live, spec.convs[start:])
    return live.peak


def _taped_outputs(live: _Live, convs: Sequence[ConvSpec]) -> None:
    """Walk the tail keeping every output, every mask and, through the outputs, every input."""
    live.take(FLOAT_BYTES * convs[0].in_elements)
    for conv in convs:
        live.take(FLOAT_BYTES * conv.out_elements)
        if conv.relu6:
            live.moment(MASK_TRANSIENTS * MASK_BYTES * conv.out_elements)
            live.take(MASK_BYTES * conv.out_elements)
        if conv.closes_residual:
            live.moment(FLOAT_BYTES * conv.out_elements)


def _backward_with_outputs(live: _Live, convs: Sequence[ConvSpec]) -> None:
    live.take(FLOAT_BYTES * convs[-1].out_elements)
    skip = 0
    for conv in reversed(convs):
        in_bytes, out_bytes = FLOAT_BYTES * conv.in_elements, FLOAT_BYTES * conv.out_elements
        if conv.closes_residual:
            skip = out_bytes
        if conv.relu6:
            live.free(MASK_BYTES * conv.out_elements)
        live.moment(out_bytes)
        live.free(out_bytes)
        live.take(in_bytes)
        if not (conv.closes_residual and skip):
            live.free(out_bytes)
        if conv.opens_residual and skip:
            live.free(skip)
            skip = 0
