"""Figure 1: time and energy of a whole personalisation, by the model of the paper's figure and by this engine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from client.personaliser import HALF_BYTES
from simulations.studies import published
from simulations.studies.figure1_model import Modelled, modelled, rated, usable_mib
from simulations.studies.planning import Planned, problem_of
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.devices.estimate import Estimate, estimate
from tinytrain_core.devices.profile import DeviceProfile
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.selection.cost import MIB, full_train_backward_macs, updated_weights
from tinytrain_core.selection.methods import method_by_name

SECONDS = 60  # of a minute
KILO = 1000


@dataclass(frozen=True)
class Own:
    """The plan that a device affords, trained by this engine.

    Attributes:
        cost: None where the plan does not fit; selection included.
        memory_mib: live, of the way that the device takes; where nothing fits, of the leanest.
        alive: images at once.
    """

    cost: Estimate | None
    memory_mib: float
    weights: int
    alive: int

    @property
    def minutes(self) -> float | None:
        return self.cost.time_s / SECONDS if self.cost else None

    @property
    def kilojoules(self) -> float | None:
        return self.cost.energy_j / KILO if self.cost else None


@dataclass(frozen=True)
class Row:
    """One method and backbone on one device.

    Attributes:
        needed_mib: by the paper's Table 2, of `usable_mib` for training.
        model: by the paper's figures; None where that does not fit.
        digitised: the paper's Figure 1, of the device that it is of.
    """

    device: str
    backbone: str
    method: str
    needed_mib: float
    usable_mib: float
    model: Modelled | None
    digitised: published.Latency | None
    own: Own

    @property
    def minutes(self) -> float | None:
        """By the model."""
        return self.model.seconds / SECONDS if self.model else None

    @property
    def kilojoules(self) -> float | None:
        """By the model."""
        return self.model.joules / KILO if self.model else None

    @property
    def time_error(self) -> float | None:
        """The model's time over that of Figure 1, less 1."""
        return self.minutes / self.digitised.minutes - 1 if self.minutes and self.digitised else None

    @property
    def energy_error(self) -> float | None:
        """The model's energy over that of Figure 1, less 1."""
        return self.kilojoules / self.digitised.kilojoules - 1 if self.kilojoules and self.digitised else None


def _own(profile: DeviceProfile, held: Backbone, episode: Episode, method: str) -> Own:
    spec = held.spec
    budget = profile.budget(full_train_backward_macs(spec), HALF_BYTES * spec.weights)
    planned = Planned.of(problem_of(held, episode, budget), method_by_name(method))
    memory_mib, weights = planned.memory_bytes / MIB, updated_weights(spec, planned.plan.extent)
    if not planned.fits:
        return Own(None, memory_mib, weights, 0)
    return Own(estimate(rated(profile, spec), planned.executed_macs()), memory_mib, weights, planned.execution.alive)


def _row(profile: DeviceProfile, label: str, held: Backbone, method: str, cost: published.Cost, own: Own) -> Row:
    spec = held.spec
    digitised = published.latency(spec.name, method) if profile.name == published.latency_model().device else None
    needed, usable = float(cost.memory_mib), usable_mib(profile)
    return Row(profile.name, label, method, needed, usable, modelled(profile, spec, cost), digitised, own)


def rows(
    profile: DeviceProfile, label: str, held: Backbone, episode: Episode, tell: Callable[[str], None]
) -> Iterator[Row]:
    """The methods of Figure 1 on one device and backbone; none where Table 2 does not have the backbone."""
    for method in published.timed_methods():
        cost = published.cost(held.spec.name, method)
        if cost is not None:
            tell(f"{profile.name}: {label}, {published.title(method)}")
            yield _row(profile, label, held, method, cost, _own(profile, held, episode, method))
