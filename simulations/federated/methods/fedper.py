"""`fedper`: base layers are averaged, personal layers never leave the device (Arivazhagan et al. 2019).

Here the personal layers are the last blocks, as the prototype head has no weights. In the end each device fine-tunes
the base and its own layers together.
"""

from typing import ClassVar

from simulations.federated.methods.base import FederatedMethod
from simulations.federated.options import START_BACKBONE, START_RANDOM, Start


class FedPer(FederatedMethod):
    """Federated learning with personalisation layers."""

    name: ClassVar[str] = "fedper"
    title: ClassVar[str] = "FedPer, then local fine-tuning"
    starts: ClassVar[tuple[Start, ...]] = (START_BACKBONE, START_RANDOM)
    federates: ClassVar[bool] = True
    personal: ClassVar[bool] = True
