"""`tinytrain`: the project's own way, here so that it is run and tuned as the others are."""

from typing import ClassVar

from simulations.federated.methods.base import FederatedMethod
from simulations.federated.options import FederatedSettings
from simulations.settings import FleetSettings


class TinyTrainAlone(FederatedMethod):
    """The fleet's own method, by default TinyTrain: nothing is averaged, and nothing but numbers comes back."""

    name: ClassVar[str] = "tinytrain"
    title: ClassVar[str] = "personalisation by numbers alone"

    @classmethod
    def ending(cls, fleet: FleetSettings, federated: FederatedSettings) -> FleetSettings:
        return fleet
