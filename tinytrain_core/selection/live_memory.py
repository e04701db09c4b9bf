"""The `live` figure: what is alive at the worst moment of selection and of training, and what is in storage.

Counted in memory are images as floats, features, activations and masks, gradients, trained values, optimiser state,
and working copies; frozen weights and the images in storage are apart. Features that are kept in a file are
storage.
"""

from dataclasses import replace
from functools import lru_cache

from tinytrain_core.engine.adapters import lite_shape
from tinytrain_core.engine.evaluate import TOGETHER
from tinytrain_core.engine.execution import Execution
from tinytrain_core.engine.features import PRECISIONS, Place
from tinytrain_core.engine.update import NOTHING, Extent
from tinytrain_core.selection.cost import FLOAT_BYTES, updated_parameters
from tinytrain_core.selection.plan import Inspection
from tinytrain_core.selection.replay import Held, Live, frozen_pass, pixels
from tinytrain_core.selection.tail_replay import TailOnPaper
from tinytrain_core.selection.workload import Workload

INDEX_BYTES = 8  # of a chosen channel
ONE_HOT_BYTES = 12  # of a label and class: an integer, then a float
VIEW_BYTES = 28  # of a drawn view, per image: three factors and two shifts


class _Replay:
    """What the phases share: a workload, an execution, and the running total."""

    def __init__(self, work: Workload, execution: Execution) -> None:
        self.work, self.execution, self.live = work, execution, Live()
        self.kept: tuple[int, Held] | None = None  # the clean features: where they are, and what they are

    def features(self, stop: int, n: int, *, view: bool = False) -> Held:
        """Features at `stop`, from what is kept of the clean support or from the images."""
        spec, live = self.work.spec, self.live
        if self.kept is not None and self.kept[0] <= stop and not view:
            start, x = self.kept[0], self.read(self.kept[0], n)
        else:
            start, x = 0, pixels(live, spec, n, view=view)
        return frozen_pass(live, spec, x, start, stop, n, lean=self.execution.lean)

    def unlabelled(self, stop: int, n: int) -> Held:
        """Features at `stop` of images without labels, from the images; none of none."""
        if not n:
            return Held(0)
        spec, live = self.work.spec, self.live
        return frozen_pass(live, spec, pixels(live, spec, n, view=False), 0, stop, n, lean=self.execution.lean)

    def read(self, at: int, n: int) -> Held:
        """Kept features as floats: a view where they are kept in full precision and in memory."""
        size = FLOAT_BYTES * n * self.work.spec.convs[at].in_elements
        direct = PRECISIONS[self.work.precision].dtype is None
        return self.live.new(0 if direct else size)

    def room(self, at: int, copies: int) -> Held:
        return self.live.new(self.work.kept(at, copies) if self.execution.place is Place.MEMORY else 0)

    def fill(self, stop: int, n: int, *, view: bool) -> None:
        """Compute features of n images and write them."""
        x = self.features(stop, n, view=view)
        if PRECISIONS[self.work.precision].dtype is not None:
            self.live.moment(x.size)
        self.live.drop(x)

    def keep_clean(self, stop: int) -> None:
        """`CleanFeatures.keep`."""
        if self.execution.place is Place.NOWHERE:
            self.drop_clean()
        elif self.kept is None or self.kept[0] != stop:
            room = self.room(stop, 1)
            self.fill(stop, min(self.execution.alive, self.work.support), view=False)
            self.drop_clean()
            self.kept = stop, room

    def drop_clean(self) -> None:
        if self.kept is not None:
            self.live.drop(self.kept[1])
            self.kept = None


def _hold_inspected(replay: _Replay, inspection: Inspection | None) -> None:
    """What the Fisher pass has left: clean features at its window, in memory if it kept them there."""
    if inspection is None or inspection.execution.place is Place.NOWHERE:
        return
    in_memory = inspection.execution.place is Place.MEMORY
    replay.kept = inspection.start, replay.live.new(replay.work.kept(inspection.start, 1) if in_memory else 0)


def selection_bytes(work: Workload, start: int, execution: Execution) -> int:
    """The peak of the Fisher pass over convolutions `start` to the end."""
    replay = _Replay(work, execution)
    live, spec = replay.live, work.spec
    replay.keep_clean(start)
    live.new(FLOAT_BYTES * sum(conv.out_channels for conv in spec.convs[start:]))
    n = min(execution.alive, work.support)
    tail = TailOnPaper(spec, start, start, NOTHING, execution.lean, n, keep_outputs=True)
    if n == work.support:
        tape = tail.forward(live, replay.features(start, n), taped=True)
        live.new(work.embedding_bytes)
        live.moment(work.embedding_bytes + work.head_bytes())
        tail.backward(live, tape)
        return live.peak
    live.new(work.embedding_bytes)
    tail.forward(live, replay.features(start, n), taped=False)
    live.moment(work.embedding_bytes + work.head_bytes())
    tape = tail.forward(live, replay.features(start, n), taped=True)
    tail.backward(live, tape)
    return live.peak


@lru_cache(maxsize=4096)
def _features_bytes(work: Workload, stop: int, inspection: Inspection | None, execution: Execution) -> tuple[int, int]:
    """The peak of filling the shelf for a tail from `stop` on, and what stays alive of it."""
    replay = _Replay(work, execution)
    live, n = replay.live, min(execution.alive, work.support)
    _hold_inspected(replay, inspection)
    live.new(VIEW_BYTES * work.support * max(work.views, 1))
    replay.keep_clean(stop)
    if work.views and execution.place is not Place.NOWHERE:
        replay.room(stop, work.views)
        replay.fill(stop, n, view=True)
    return live.peak, live.now


def _trained_bytes(work: Workload, extent: Extent, execution: Execution) -> int:
    """What a step starts with: trained values, gradients, optimiser state, indices, and working copies."""
    copies = 0 if execution.lean else _whole_bytes(work, extent)
    values = (2 + work.optimiser_copies) * FLOAT_BYTES * updated_parameters(work.spec, extent)
    starts = FLOAT_BYTES * sum(lite_shape(work.spec, block).parameters for block in extent.adapters)
    return values + starts + copies + _index_bytes(work, extent)


def _index_bytes(work: Workload, extent: Extent) -> int:
    """Indices of output channels, and of input channels where they are not all."""
    pairs = [(work.spec.convs[i], share) for i, share in extent.shares.items()]
    inputs = sum(share.inputs for conv, share in pairs if share.part_of_inputs(conv))
    return INDEX_BYTES * (inputs + sum(share.outputs for _, share in pairs))


def _whole_bytes(work: Workload, extent: Extent) -> int:
    """The chosen convolutions' weights and biases, whole, as far as they are trained."""
    pairs = [(work.spec.convs[i], share) for i, share in extent.shares.items()]
    return FLOAT_BYTES * sum((conv.weights if share.inputs else 0) + conv.out_channels for conv, share in pairs)


def training_bytes(work: Workload, extent: Extent, execution: Execution, inspection: Inspection | None = None) -> int:
    """The peak of fine-tuning, from its kept features to its last step.

    Args:
        extent: how much is trained.
        inspection: the Fisher pass before, which has left features.
    """
    if not extent:
        return 0
    spec, first = work.spec, extent.first
    start = spec.block_start(first)
    filling, staying = _features_bytes(work, start, inspection, execution)
    replay = _Replay(work, execution)
    live = replay.live
    live.new(staying + _trained_bytes(work, extent, execution))
    if execution.place is not Place.NOWHERE:
        replay.kept = start, Held(0)
    step = _step_lean if execution.lean else _step
    step(replay, start, TailOnPaper(spec, start, first, extent, execution.lean, _alive(work, execution)))
    return max(filling, live.peak)


def _alive(work: Workload, execution: Execution) -> int:
    """Images of a step that are alive at once: a group of a lean pass is of one side."""
    return min(execution.alive, work.support) if execution.lean else work.taped_images


def _step(replay: _Replay, start: int, tail: TailOnPaper) -> None:
    """A step with all images alive: the two sides' features are joined."""
    live, work = replay.live, replay.work
    clean = replay.features(start, work.support)
    if work.detached:
        replace(tail, n=work.support).forward(live, clean, taped=False)
        clean = Held(0)
        live.new(work.embedding_bytes)
    seen = replay.features(start, work.support, view=True) if not work.views else replay.read(start, work.support)
    unlabelled = replay.unlabelled(start, work.unlabelled)
    joined = live.new(FLOAT_BYTES * work.taped_images * work.spec.convs[start].in_elements)
    for side in (clean, seen, unlabelled):
        live.drop(side)
    tape = tail.forward(live, joined, taped=True)
    live.new(work.step_embedding_bytes)
    live.moment(work.head_bytes())
    tail.backward(live, tape)


def _step_lean(replay: _Replay, start: int, tail: TailOnPaper) -> None:
    """A step with a few images alive: all embeddings, then each group forwards and backwards."""
    live, work, n = replay.live, replay.work, _alive(replay.work, replay.execution)
    view = replay.execution.place is Place.NOWHERE or not work.views

    def labelled() -> Held:
        return replay.features(start, n, view=True) if view else replay.read(start, n)

    def unlabelled() -> Held:
        return replay.unlabelled(start, min(n, work.unlabelled))

    live.new(work.step_embedding_bytes)
    for features in (labelled, unlabelled):
        tail.forward(live, features(), taped=False)
        live.moment(work.head_bytes())
        tail.backward(live, tail.forward(live, features(), taped=True))


def judging_bytes(work: Workload, extent: Extent, execution: Execution) -> int:
    """The peak of `engine.evaluate.judge` with a delta: both backbones go over the images together."""
    replay = _Replay(work, execution)
    live, spec, lean = replay.live, work.spec, execution.lean
    start = spec.block_start(min(extent.shares, default=len(spec.convs) - 1))
    live.new(FLOAT_BYTES * updated_parameters(spec, extent) + _index_bytes(work, extent))
    live.new(FLOAT_BYTES * updated_parameters(spec, extent) if lean else _whole_bytes(work, extent))
    live.moment(ONE_HOT_BYTES * work.support * work.ways)
    live.new(FLOAT_BYTES * (2 * work.ways * spec.feature_dim + work.support * work.ways))
    n = min(execution.alive, work.support, TOGETHER)
    live.new(FLOAT_BYTES * n * spec.feature_dim)
    features = replay.features(start, n)
    tail = TailOnPaper(spec, start, start, extent, lean, n)
    tail.forward(live, live.keep(features), taped=False)
    live.moment(2 * FLOAT_BYTES * n * (spec.feature_dim + work.ways))
    return live.peak


def storage_bytes(work: Workload, extent: Extent, execution: Execution, inspection: Inspection | None) -> int:
    """The most that is in files at once; 0 where features are kept in memory or nowhere."""
    filed = inspection is not None and inspection.execution.place is Place.FILE
    window = work.kept(inspection.start, 1) if filed and inspection is not None else 0
    if not extent or execution.place is not Place.FILE:
        return window
    start = work.spec.block_start(extent.first)
    clean = work.kept(start, 1)
    if inspection is not None and inspection.start == start and inspection.execution.place is not Place.NOWHERE:
        return window + work.kept(start, work.views)  # the clean features stay where they are
    return max(window + clean, clean + work.kept(start, work.views))
