"""`engine.tail.Tail` on paper, forwards and backwards, with what `engine.layers` and `engine.ops` take meanwhile."""

from dataclasses import dataclass, field

from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec
from tinytrain_core.engine.adapters import lite_shape
from tinytrain_core.engine.ops import BITS, LARGE_KERNEL
from tinytrain_core.engine.update import Extent, Share
from tinytrain_core.selection.branch_replay import branch_bytes
from tinytrain_core.selection.cost import FLOAT_BYTES
from tinytrain_core.selection.replay import Held, Live, in_bytes, out_bytes

NO_SHARE = Share(0, 0)


@dataclass
class _Tape:
    inputs: dict[int, Held] = field(default_factory=dict)
    activations: dict[int, Held] = field(default_factory=dict)
    outputs: dict[int, Held] = field(default_factory=dict)
    branches: dict[int, Held] = field(default_factory=dict)
    entered: dict[int, Held] = field(default_factory=dict)


@dataclass(frozen=True)
class TailOnPaper:
    """`engine.tail.Tail`, for n images at a time.

    Attributes:
        extent: how much is trained.
    """

    spec: BackboneSpec
    start: int
    first: int
    extent: Extent
    lean: bool
    n: int
    keep_outputs: bool = False

    @property
    def _convs(self) -> tuple[ConvSpec, ...]:
        return self.spec.convs[self.start :]

    @property
    def _embedding_bytes(self) -> int:
        return FLOAT_BYTES * self.n * self.spec.feature_dim

    def _in(self, conv: ConvSpec) -> int:
        return in_bytes(conv, self.n)

    def _out(self, conv: ConvSpec) -> int:
        return out_bytes(conv, self.n)

    def forward(self, live: Live, x: Held, *, taped: bool) -> _Tape:
        """Consumes x; the embeddings are a moment, and what a backward pass needs is on the tape."""
        tape, skip, entered = _Tape(), None, None
        for conv in self._convs:
            if conv.opens_block and conv.block in self.extent.adapters:
                entered = live.keep(x)
            if conv.opens_residual:
                skip = live.keep(x)
            if taped and self._share(conv.index).inputs:
                tape.inputs[conv.index] = self._needed_input(live, conv, x)
            out = self._convolve(live, conv)
            live.drop(x)
            x = out
            if taped and conv.index >= self.first:
                self._record(live, tape, conv, x)
            if conv.closes_residual and skip is not None:
                x = self._add(live, x)
                live.drop(skip)
                skip = None
            if conv.closes_block and entered is not None:
                self._branch(live, tape, conv, entered, taped=taped)
                entered = None
        live.moment(self._embedding_bytes)
        live.drop(x)
        return tape

    def _share(self, index: int) -> Share:
        return self.extent.shares.get(index, NO_SHARE)

    def _branch(self, live: Live, tape: _Tape, conv: ConvSpec, entered: Held, *, taped: bool) -> None:
        """A lite residual: what it keeps for its way back, and its output, which is added and gone."""
        cost = branch_bytes(lite_shape(self.spec, conv.block), self.n, taped=taped)
        live.moment(cost.forward)
        if taped:
            tape.branches[conv.block] = live.new(cost.kept)
            tape.entered[conv.block] = live.keep(entered)
        live.drop(entered)

    def _needed_input(self, live: Live, conv: ConvSpec, x: Held) -> Held:
        share = self._share(conv.index)
        if conv.depthwise and self.lean:
            return live.new(self._in(conv) * share.outputs // conv.in_channels)
        if share.part_of_inputs(conv):
            return live.new(self._in(conv) * share.inputs // conv.in_channels)
        return live.keep(x)

    def _convolve(self, live: Live, conv: ConvSpec) -> Held:
        out = live.new(self._out(conv))
        share = self._share(conv.index)
        if self.lean and share.inputs:
            seen = share.outputs if conv.depthwise else share.inputs if share.part_of_inputs(conv) else 0
            live.moment(
                self._in(conv) * seen // conv.in_channels + self._out(conv) * share.outputs // conv.out_channels
            )
        return out

    def _record(self, live: Live, tape: _Tape, conv: ConvSpec, output: Held) -> None:
        if conv.relu6:
            tape.activations[conv.index] = self._mask(live, conv) if self._packs(conv) else live.keep(output)
        if self.keep_outputs:
            tape.outputs[conv.index] = live.keep(output)

    def _packs(self, conv: ConvSpec) -> bool:
        following = conv.index + 1
        share = self._share(following)
        if not share.inputs:
            return self.lean and not self.keep_outputs
        after = self.spec.convs[following]
        return self.lean and not self.keep_outputs and (after.depthwise or share.part_of_inputs(after))

    def _mask(self, live: Live, conv: ConvSpec) -> Held:
        elements = self.n * conv.out_elements
        live.moment(2 * elements)
        return live.new(-(-elements // BITS))

    def _add(self, live: Live, x: Held) -> Held:
        """The residual is added in place, unless the output is wanted as it was."""
        if not self.keep_outputs:
            return x
        total = live.new(x.size)
        live.drop(x)
        return total

    def backward(self, live: Live, tape: _Tape) -> None:
        """Consumes the tape."""
        live.moment(self._embedding_bytes + self._out(self.spec.convs[-1]))
        g, skip, aside = live.new(self._out(self.spec.convs[-1])), None, None
        for conv in reversed(self.spec.convs[self.first :]):
            if conv.closes_residual:
                skip = live.keep(g)
            if conv.closes_block and conv.block in tape.branches:
                aside = self._branch_back(live, tape, conv.block)
            if conv.relu6:
                self._relu6(live, tape, conv)
            self._at_output(live, tape, conv)
            if conv.index == self.first:
                break
            found = self._input_gradient(live, conv)
            live.drop(g)
            g = found
            if conv.opens_residual and skip is not None:
                live.drop(skip)
                skip = None
            if conv.opens_block and aside is not None:
                live.drop(aside)
                aside = None
        live.drop(g)

    def _branch_back(self, live: Live, tape: _Tape, block: int) -> Held:
        """The way back through a lite residual, which leaves the gradient by the block's input."""
        shape = lite_shape(self.spec, block)
        live.drop(tape.branches.pop(block))
        live.moment(branch_bytes(shape, self.n, taped=True).backward)
        live.drop(tape.entered.pop(block))
        return live.new(FLOAT_BYTES * self.n * shape.in_channels * shape.in_size**2)

    def _relu6(self, live: Live, tape: _Tape, conv: ConvSpec) -> None:
        if self._packs(conv):
            live.moment(2 * -(-self.n * conv.out_elements // BITS))
        live.drop(tape.activations.pop(conv.index))

    def _at_output(self, live: Live, tape: _Tape, conv: ConvSpec) -> None:
        share = self._share(conv.index)
        chosen = share.outputs
        if self.keep_outputs:
            live.moment(2 * FLOAT_BYTES * self.n * conv.out_channels)
            live.drop(tape.outputs.pop(conv.index))
        if not chosen:
            return
        selected = self._out(conv) * chosen // conv.out_channels
        if not share.inputs:
            live.moment(selected + FLOAT_BYTES * chosen)
            return
        x = tape.inputs.pop(conv.index)
        if conv.depthwise:
            selected += 0 if self.lean else self._in(conv) * chosen // conv.in_channels
            selected += self._depthwise_gradient(conv, chosen)
        elif conv.kernel > 1:
            selected += FLOAT_BYTES * share.weights(conv)
        live.moment(selected)
        live.drop(x)

    def _depthwise_gradient(self, conv: ConvSpec, chosen: int) -> int:
        weights = FLOAT_BYTES * chosen * conv.weights_per_channel
        if conv.kernel < LARGE_KERNEL:
            return weights
        # A strided convolution with the gradient gives up to stride - 1 rows too many, which are cut off.
        side = (conv.in_size + 2 * conv.padding - conv.stride * (conv.out_size - 1) - 1) + 1
        found = FLOAT_BYTES * self.n * chosen * side**2
        maps = (self._in(conv) + self._out(conv)) * chosen // conv.out_channels
        return maps + found + weights

    def _input_gradient(self, live: Live, conv: ConvSpec) -> Held:
        flipped = FLOAT_BYTES * conv.weights if conv.depthwise and conv.stride == 1 else 0
        live.moment(flipped + self._in(conv))
        out = live.new(self._in(conv))
        share = self._share(conv.index)
        chosen = share.outputs
        if self.lean and share.inputs:
            selected = self._out(conv) * chosen // conv.out_channels
            if share.part_of_inputs(conv):
                selected += self._in(conv) * share.inputs // conv.in_channels
            if conv.depthwise:
                selected += (self._in(conv) + flipped) * chosen // conv.out_channels
            elif conv.kernel > 1:
                selected += self._in(conv)
            live.moment(selected)
        return out
