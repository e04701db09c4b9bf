"""Learning rates chosen on validation users: never on a device that is measured, and for every method in one way."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from server.results import read_reports
from simulations.federated.baseline import Baseline
from simulations.federated.methods import federated_method
from simulations.federated.options import FederatedSettings
from simulations.federated.run import run_baseline
from simulations.population import check_data, node_configs
from simulations.reporting.summary import evaluated
from simulations.settings import FleetSettings, build_settings
from simulations.world.settings import Availability, Faults, Links, Power
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.sources import is_glyphs

FOLDER = "tuning"  # in the run's own, while it lasts
DEVICES = 12
VALIDATION_GLYPHS = "glyphs:validation"
OFF: dict[str, Any] = {
    "availability": Availability(),
    "links": Links(),
    "power": Power(),
    "faults": Faults(),
    "rounds": 1,
}


@dataclass(frozen=True)
class Tried:
    """One pair of learning rates, and the mean accuracy of the validation devices in the end.

    Attributes:
        federation: None where nothing is averaged.
    """

    federation: float | None
    ending: float
    accuracy: float
    devices: int


@dataclass(frozen=True)
class Tuned:
    """All that was tried, and what was chosen of it."""

    data: str
    seed: int
    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried:
        """The most accurate; of equals the one with the lowest rates."""
        return min(self.tried, key=lambda t: (-t.accuracy, t.federation or 0.0, t.ending))

    def apply(self, fleet: FleetSettings, federated: FederatedSettings) -> tuple[FleetSettings, FederatedSettings]:
        """The settings with the chosen rates."""
        rate = federated.learning_rate if self.best.federation is None else self.best.federation
        tuned = federated.model_copy(update={"learning_rate": rate})
        return fleet.model_copy(update={"learning_rate": self.best.ending}), tuned

    def summary(self) -> dict[str, Any]:
        """For `run.json`."""
        return asdict(self) | {"chosen": asdict(self.best)}


def validation_fleet(fleet: FleetSettings, data: str | None, devices: int) -> FleetSettings:
    """Other users than those of the fleet, on devices of the same classes, to whom nothing happens.

    Raises:
        ConfigurationError: users of the same images would be the measured ones again.
        DataError: too few images for so many users.
    """
    if data is None and not is_glyphs(fleet.data):
        raise ConfigurationError(
            f"tuning needs images that no measured device has: give --validation DATA beside --data {fleet.data}, as "
            "another folder, another zip or another split of it (PATH:SPLIT)"
        )
    own = {"devices": devices, "data": data or VALIDATION_GLYPHS, "seed": (fleet.seed + 1) % 2**31}
    found = build_settings(fleet.model_dump() | OFF | own)
    if found.data == fleet.data and not is_glyphs(found.data):
        raise ConfigurationError(f"--validation is {found.data}, which the measured devices have; give other images")
    check_data(found)
    return found


def try_rates(
    fleet: FleetSettings,
    federated: FederatedSettings,
    rates: Sequence[float],
    out: Path,
    on_tried: Callable[[Tried], None] = lambda _: None,
) -> Tuned:
    """Try every rate of the federation with every rate of the last personalisation, as far as a method has either.

    Args:
        fleet: of validation users.
        out: a folder of its own, which is removed again.
    """
    method = federated_method(federated.method)
    tried: list[Tried] = []
    try:
        for rate in rates if method.federates else (None,):
            for one in _tried(fleet, federated, rate, rates, out / f"{rate}"):
                tried.append(one)
                on_tried(one)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    return Tuned(fleet.data, fleet.seed, tuple(tried))


def _tried(
    fleet: FleetSettings, federated: FederatedSettings, rate: float | None, rates: Sequence[float], out: Path
) -> Iterator[Tried]:
    """One federation, and every last personalisation of it."""
    out.mkdir(parents=True)
    nodes = node_configs(fleet, out)
    training = federated if rate is None else federated.model_copy(update={"learning_rate": rate})
    endings: Mapping[Path, float] = {out / f"{ending}": ending for ending in rates}
    run_baseline(Baseline(fleet, training, endings, len(nodes)), nodes, out)
    for folder, ending in endings.items():
        done = evaluated(read_reports(folder))
        yield Tried(rate, ending, fmean(report.accuracy_after for report in done) if done else 0.0, len(done))
