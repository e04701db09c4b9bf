"""What is known of the devices that a stage is judged on. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from server.fleet.rollout.figure import TRANSIENT, Figure
from server.fleet.rollout.spec import Gates, RolloutSpec
from server.fleet.rollout.state import GIVEN_UP, Progress, RolloutState, without_devices
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome

# Refusals that say that the release, or what it asks for, is at fault. Others are about the device, its clock or trust.
ACCUSING = frozenset(
    (
        ErrorCode.INTERNAL,
        ErrorCode.BACKBONE,
        ErrorCode.REQUEST,
        ErrorCode.BUDGET,
        ErrorCode.TRAINING_DIVERGED,
        ErrorCode.MANIFEST,
        ErrorCode.CRASHED,
    )
)
Values = Callable[[Iterable[Figure]], list[float]]


def worse(figures: Iterable[Figure]) -> list[float]:
    """1 for each device whose adapted backbone is worse, 0 for the others with exact accuracies."""
    return [float(figure.after < figure.before) for figure in figures if figure.exact]


def gains(figures: Iterable[Figure]) -> list[float]:
    """Accuracy after less before, of those with exact accuracies."""
    return [figure.after - figure.before for figure in figures if figure.exact]


def noisy_gains(figures: Iterable[Figure]) -> list[float]:
    """Accuracy after less before, of those with noise: right in the mean alone."""
    return [figure.after - figure.before for figure in figures if figure.noisy]


def changes(figures: Iterable[Figure]) -> list[float]:
    """The accuracy in use less the one under another release, of those that reported both exactly."""
    return [figure.in_use - figure.previous for figure in figures if figure.exact and figure.previous is not None]


@dataclass(frozen=True)
class Sample:
    """What is known of some devices.

    Attributes:
        devices: all of them, less those whose error is excused.
        figures: of those that reported.
        silent: devices of nodes that came to nothing and did not say that the release is at fault.
        accused: devices of nodes that refused the release for what it is.
        earlier: figures of the stages before, for a gate of which these devices alone tell too little.
        cohort: accuracies of fewer devices are not shown.
    """

    devices: int
    figures: tuple[Figure, ...]
    silent: int = 0
    accused: int = 0
    earlier: tuple[Figure, ...] = ()
    cohort: int = 0

    @property
    def counted(self) -> int:
        """Devices that have reported or failed."""
        return len(self.figures) + self.silent + self.accused

    @cached_property
    def blamed(self) -> int:
        """Devices that said themselves that they failed."""
        return self.accused + sum(figure.outcome == Outcome.FAILED for figure in self.figures)

    @property
    def failed(self) -> int:
        """Devices that failed, whether they said so or not."""
        return self.silent + self.blamed

    @property
    def knows_another(self) -> bool:
        """Whether any device has ever reported another release."""
        return any(figure.previous is not None for figure in (*self.figures, *self.earlier))

    def values(self, of: Values, needed: int) -> list[float]:
        """Those of the devices; where they are too few together with those of the stages before."""
        own = of(self.figures)
        return own if len(own) >= needed else own + of(self.earlier)


def sample(nodes: Iterable[Progress], gates: Gates) -> Sample:
    """What is known of the devices of some nodes."""
    devices, silent, accused, counted = 0, 0, 0, list[Figure]()
    left_out = TRANSIENT | gates.excused_codes
    for node in nodes:
        devices += len(node.devices)
        for figure in node.figures:
            if figure.error not in left_out:
                counted.append(figure)
            elif not figure.transient:
                devices -= 1
        if node.step in GIVEN_UP:
            blames = node.refused in ACCUSING
            accused += len(node.owes) * blames
            silent += len(node.owes) * (not blames)
    return Sample(devices, tuple(counted), silent, accused)


def _of_stages(state: RolloutState, stages: Collection[int]) -> Sample:
    """What is known of the devices of these stages, those of nodes that were taken out included."""
    nodes = [node for node in state.nodes.values() if node.stage in stages]
    if state.removed:
        hosted = frozenset(device for node in state.nodes.values() for device in node.devices)
        nodes += [without_devices(node, hosted) for node in state.removed if node.stage in stages]
    return replace(sample(nodes, state.spec.gates), cohort=state.cohort)


class _Last(NamedTuple):
    """A sample, and the parts of the state that it follows from: none of them is ever changed in place."""

    nodes: Mapping[str, Progress]
    removed: tuple[Progress, ...]
    spec: RolloutSpec
    stage: int
    cohort: int
    found: Sample

    def of(self, state: RolloutState) -> bool:
        """Whether it is the state's: the same objects, as equal ones take as long to compare as to judge."""
        same = self.nodes is state.nodes and self.removed is state.removed and self.spec is state.spec
        return same and (self.stage, self.cohort) == (state.stage, state.cohort)


_last: _Last | None = None  # most passes of a controller change no node, and need no new sample of all of them


def judged(state: RolloutState) -> Sample:
    """The devices that the stage under way is judged on.

    They are its own. A small stage of which too few have reported is judged together with those before it, so that a
    device without images or one that is away does not stop it for ever; a large one has to bring its own reports.
    """
    global _last
    last = _last
    if last is None or not last.of(state):
        _last = last = _Last(state.nodes, state.removed, state.spec, state.stage, state.cohort, _judged(state))
    return last.found


def _judged(state: RolloutState) -> Sample:
    own, least = _of_stages(state, (state.stage,)), state.spec.gates.min_reports
    if own.counted < least and own.devices < 2 * least:
        return _of_stages(state, range(state.stage + 1))
    return replace(own, earlier=_of_stages(state, range(state.stage)).figures)
