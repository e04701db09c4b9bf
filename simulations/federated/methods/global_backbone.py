"""`global`: every device uses the backbone as it is."""

from typing import ClassVar

from simulations.federated.methods.base import FederatedMethod
from simulations.federated.options import FederatedSettings
from simulations.settings import FleetSettings
from tinytrain_core.selection.methods.none import NoAdaptation


class GlobalBackbone(FederatedMethod):
    """The global backbone without adaptation: prototypes of the device's own images, and no training."""

    name: ClassVar[str] = "global"
    title: ClassVar[str] = "global backbone, not adapted"
    adapts: ClassVar[bool] = False

    @classmethod
    def ending(cls, fleet: FleetSettings, federated: FederatedSettings) -> FleetSettings:
        return fleet.model_copy(update={"method": NoAdaptation.name})
