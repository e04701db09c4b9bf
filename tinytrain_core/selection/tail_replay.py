"""`engine.tail.Tail` on paper, forwards and backwards, with what `engine.layers` and `engine.ops` take meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec
from tinytrain_core.engine.ops import BITS, LARGE_KERNEL
from tinytrain_core.selection.cost import FLOAT_BYTES
from tinytrain_core.selection.replay import Held, Live, in_bytes, out_bytes


@dataclass
class _Tape:
    inputs: dict[int, Held] = field(default_factory=dict)
    activations: dict[int, Held] = field(default_factory=dict)
    outputs: dict[int, Held] = field(default_factory=dict)


@dataclass(frozen=True)
class TailOnPaper:
    """`engine.tail.Tail`, for n images at a time.

    Attributes:
        channels: how many output channels are chosen, by convolution index.
    """

    spec: BackboneSpec
    start: int
    first: int
    channels: Mapping[int, int]
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
        tape, skip = _Tape(), None
        for conv in self._convs:
            if conv.opens_residual:
                skip = live.keep(x)
            if taped and conv.index in self.channels:
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
        live.moment(self._embedding_bytes)
        live.drop(x)
        return tape

    def _needed_input(self, live: Live, conv: ConvSpec, x: Held) -> Held:
        if conv.depthwise and self.lean:
            return live.new(self._in(conv) * self.channels[conv.index] // conv.in_channels)
        return live.keep(x)

    def _convolve(self, live: Live, conv: ConvSpec) -> Held:
        out = live.new(self._out(conv))
        chosen = self.channels.get(conv.index, 0)
        if self.lean and chosen:
            seen = self._in(conv) * chosen // conv.in_channels if conv.depthwise else 0
            live.moment(seen + self._out(conv) * chosen // conv.out_channels)
        return out

    def _record(self, live: Live, tape: _Tape, conv: ConvSpec, output: Held) -> None:
        if conv.relu6:
            tape.activations[conv.index] = self._mask(live, conv) if self._packs(conv) else live.keep(output)
        if self.keep_outputs:
            tape.outputs[conv.index] = live.keep(output)

    def _packs(self, conv: ConvSpec) -> bool:
        following = conv.index + 1
        kept = following in self.channels and not self.spec.convs[following].depthwise
        return self.lean and not self.keep_outputs and not kept

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
        g, skip = live.new(self._out(self.spec.convs[-1])), None
        for conv in reversed(self.spec.convs[self.first :]):
            if conv.closes_residual:
                skip = live.keep(g)
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
        live.drop(g)

    def _relu6(self, live: Live, tape: _Tape, conv: ConvSpec) -> None:
        if self._packs(conv):
            live.moment(2 * -(-self.n * conv.out_elements // BITS))
        live.drop(tape.activations.pop(conv.index))

    def _at_output(self, live: Live, tape: _Tape, conv: ConvSpec) -> None:
        chosen = self.channels.get(conv.index, 0)
        if self.keep_outputs:
            live.moment(2 * FLOAT_BYTES * self.n * conv.out_channels)
            live.drop(tape.outputs.pop(conv.index))
        if not chosen:
            return
        x = tape.inputs.pop(conv.index)
        selected = self._out(conv) * chosen // conv.out_channels
        if conv.depthwise:
            selected += 0 if self.lean else self._in(conv) * chosen // conv.in_channels
            selected += self._depthwise_gradient(conv, chosen)
        elif conv.kernel > 1:
            selected += FLOAT_BYTES * chosen * conv.weights_per_channel
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
        chosen = self.channels.get(conv.index, 0)
        if self.lean and chosen:
            selected = self._out(conv) * chosen // conv.out_channels
            if conv.depthwise:
                selected += (self._in(conv) + flipped) * chosen // conv.out_channels
            elif conv.kernel > 1:
                selected += self._in(conv)
            live.moment(selected)
        return out
