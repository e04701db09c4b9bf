"""`local`: every device trains all weights from random ones, on its own images and alone."""

from typing import ClassVar

from simulations.federated.methods.base import FederatedMethod
from simulations.federated.options import START_RANDOM, FederatedSettings, Start
from simulations.settings import FleetSettings
from tinytrain_core.report import MAX_STEPS


class Local(FederatedMethod):
    """Local-only training, for as many steps as a device takes in all where there is a federation."""

    name: ClassVar[str] = "local"
    title: ClassVar[str] = "local only, from random weights"
    start: ClassVar[Start] = START_RANDOM
    starts: ClassVar[tuple[Start, ...]] = (START_RANDOM,)

    @classmethod
    def ending(cls, fleet: FleetSettings, federated: FederatedSettings) -> FleetSettings:
        steps = min(fleet.steps + federated.rounds * federated.local_steps, MAX_STEPS)
        return super().ending(fleet, federated).model_copy(update={"steps": steps})
