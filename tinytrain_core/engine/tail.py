"""The trainable end of a backbone, run forwards and backwards by hand so that only what is needed is kept.

The tail starts where a block does. A forward pass that is to be followed by a backward pass fills a `Tape` with
what ReLU6 needs behind the earliest chosen convolution, and with inputs of chosen convolutions.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from tinytrain_core.backbones.spec import ConvSpec
from tinytrain_core.engine.adapters import TapedBranch, branch, lite_shape
from tinytrain_core.engine.layers import FrozenLayers
from tinytrain_core.engine.memory import LiveBytes, watched
from tinytrain_core.engine.ops import as_rows, packed_mask, relu6_, relu6_backward_, select
from tinytrain_core.engine.update import Chosen

AtOutput = Callable[[ConvSpec, Tensor], None]
AtBranch = Callable[[int, Sequence[Tensor]], None]


@dataclass
class Tape:
    """What one forward pass leaves for the backward pass, by convolution index.

    Attributes:
        inputs: of chosen convolutions, whole; in lean passes only the chosen channels of a depthwise one.
        activations: outputs of ReLU6; in lean passes their masks in bits, unless the output is kept anyway.
        outputs: every convolution's, where `Tail.keep_outputs` asks for them.
        branches: passes of lite residuals, by block.
    """

    inputs: dict[int, Tensor] = field(default_factory=dict)
    activations: dict[int, Tensor] = field(default_factory=dict)
    outputs: dict[int, Tensor] = field(default_factory=dict)
    branches: dict[int, TapedBranch] = field(default_factory=dict)


@dataclass(frozen=True)
class Tail:
    """Convolutions `start` to the end, of which `first` is the earliest whose output gradient is wanted.

    Attributes:
        layers: the weights, read at every pass.
        channels: what is trained of each chosen convolution.
        lean: keep as few bytes as possible, at the cost of time.
        keep_outputs: tape every convolution's output as well, as the Fisher potential needs it.
    """

    layers: FrozenLayers
    start: int
    first: int
    channels: Mapping[int, Chosen] = field(default_factory=dict)
    lean: bool = False
    keep_outputs: bool = False

    @property
    def _convs(self) -> tuple[ConvSpec, ...]:
        return self.layers.backbone.spec.convs

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """Embeddings (N, D) of features (N, C, H, W) at the tail's input; what backward needs goes on the tape."""
        skip = entered = None
        for conv in self._convs[self.start :]:
            if conv.opens_block and conv.block in self.layers.branches:
                entered = x
            if conv.opens_residual:
                skip = x
            if tape is not None and self._trains_weights(conv.index):
                tape.inputs[conv.index] = self._needed_input(x, conv)
            x = self.layers.convolve(x, conv)
            if conv.relu6:
                x = relu6_(x)
            if tape is not None and conv.index >= self.first:
                self._record(tape, conv, x)
            if conv.closes_residual and skip is not None:
                x = x + skip if self.keep_outputs else x.add_(skip)
                skip = None
            if conv.closes_block and entered is not None:
                x = x.add_(self._branch(entered, conv.block, tape))
                entered = None
        return as_rows(x).view(len(x), -1, x.shape[1]).mean(1)

    def embed_each(
        self,
        features: Callable[[int, int], Tensor],
        groups: Sequence[tuple[int, int]],
        live: LiveBytes | None = None,
        watch: Collection[int] = (0,),
    ) -> Tensor:
        """Embeddings (N, D) without a tape, from `features(first, last)` of each group of N images.

        Args:
            live: watches the groups that begin with an image in `watch`.
        """
        backbone = self.layers.backbone
        with watched(live):
            embeddings = backbone.weights[0].new_empty(groups[-1][1], backbone.spec.feature_dim)
        for first, last in groups:
            with watched(live if first in watch else None):
                embeddings[first:last] = self.forward(features(first, last))
        return embeddings

    def _branch(self, x: Tensor, block: int, tape: Tape | None) -> Tensor:
        parameters, shape = self.layers.branches[block], lite_shape(self.layers.backbone.spec, block)
        if tape is None:
            return branch(x, parameters, shape)
        tape.branches[block] = TapedBranch.forward(x, parameters, shape)
        return tape.branches[block].output.detach()

    def _trains_weights(self, index: int) -> bool:
        return index in self.channels and not self.channels[index].biases_only

    def _needed_input(self, x: Tensor, conv: ConvSpec) -> Tensor:
        chosen = self.channels[conv.index]
        if conv.depthwise:
            return select(x, chosen.outputs) if self.lean else x
        return select(x, chosen.inputs)

    def _record(self, tape: Tape, conv: ConvSpec, output: Tensor) -> None:
        if conv.relu6:
            tape.activations[conv.index] = packed_mask(output) if self._packs(conv) else output
        if self.keep_outputs:
            tape.outputs[conv.index] = output

    def _packs(self, conv: ConvSpec) -> bool:
        """Whether a ReLU6 leaves bits only: in lean passes, unless the next weights need its output whole."""
        following = conv.index + 1
        kept = self._trains_weights(following) and not self._convs[following].depthwise
        whole = kept and self.channels[following].inputs is None
        return self.lean and not self.keep_outputs and not whole

    def backward(self, tape: Tape, gradient: Tensor, at_output: AtOutput, at_branch: AtBranch | None = None) -> None:
        """Walk dL/dembedding (N, D) back to convolution `first`, consuming the tape.

        Args:
            at_output: called for every convolution from the last to `first` with the gradient by its output
                before the activation, (N, out, H, W), which it must not change.
            at_branch: called for every taped branch with its block and the gradients by its parameters.
        """
        skip, aside = None, None
        g = self._spread(gradient)
        for conv in reversed(self._convs[self.first :]):
            if conv.closes_residual:
                skip = g
            if conv.closes_block and conv.block in tape.branches:
                aside, *by_parameter = tape.branches.pop(conv.block).backward(g)
                if at_branch is not None:
                    at_branch(conv.block, by_parameter)
            if conv.relu6:
                g = relu6_backward_(g, tape.activations.pop(conv.index))
            at_output(conv, g)
            if conv.index == self.first:
                return
            g = self.layers.input_gradient(g, conv)
            if conv.opens_residual and skip is not None:
                g += skip
                skip = None
            if conv.opens_block and aside is not None:
                g += aside
                aside = None

    def _spread(self, gradient: Tensor) -> Tensor:
        """The gradient by the last feature map, of which the embedding is the mean."""
        size = self._convs[-1].out_size
        spread = (gradient / size**2)[:, None, None, :].expand(-1, size, size, -1)
        return spread.contiguous().permute(0, 3, 1, 2)
