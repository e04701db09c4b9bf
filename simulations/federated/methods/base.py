"""What every baseline is: where its weights begin, whether they are averaged, and how devices end."""

from typing import ClassVar, Protocol

from simulations.federated.options import START_BACKBONE, FederatedSettings, Start
from simulations.settings import FleetSettings
from tinytrain_core.selection.methods.full_train import FullTrain


class FederatedMethod(Protocol):
    """A baseline, named by its class alone: there is nothing to hold.

    Attributes:
        name: by which it is asked for.
        title: what tables call it.
        start: where its weights begin unless it is told.
        starts: where they may begin.
        federates: whether weights are trained on devices and averaged before the devices end.
        personal: whether devices keep layers of their own meanwhile.
        adapts: whether devices train in the end, so that there is a learning rate of that to choose.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    start: ClassVar[Start] = START_BACKBONE
    starts: ClassVar[tuple[Start, ...]] = (START_BACKBONE,)
    federates: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    adapts: ClassVar[bool] = True

    @classmethod
    def ending(cls, fleet: FleetSettings, federated: FederatedSettings) -> FleetSettings:
        """The fleet's settings as every device personalises in the end: by default it fine-tunes all weights."""
        return fleet.model_copy(update={"method": FullTrain.name})
