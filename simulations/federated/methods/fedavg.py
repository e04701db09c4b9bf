"""`fedavg`: federated averaging of all weights (McMahan et al. 2017), then fine-tuning of all on each device."""

from typing import ClassVar

from simulations.federated.methods.base import FederatedMethod
from simulations.federated.options import START_BACKBONE, START_RANDOM, Start


class FedAvgThenFineTuning(FederatedMethod):
    """FedAvg and local fine-tuning."""

    name: ClassVar[str] = "fedavg"
    title: ClassVar[str] = "FedAvg, then local fine-tuning"
    starts: ClassVar[tuple[Start, ...]] = (START_BACKBONE, START_RANDOM)
    federates: ClassVar[bool] = True
