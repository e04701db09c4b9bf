"""What personalisation by numbers alone is compared with: one file for each method."""

from simulations.federated.methods.base import FederatedMethod as FederatedMethod
from simulations.federated.methods.fedavg import FedAvgThenFineTuning
from simulations.federated.methods.fedper import FedPer
from simulations.federated.methods.global_backbone import GlobalBackbone
from simulations.federated.methods.local import Local
from simulations.federated.methods.tinytrain import TinyTrainAlone
from tinytrain_core.errors import ConfigurationError

FEDERATED_METHODS: dict[str, type[FederatedMethod]] = {
    kind.name: kind for kind in (Local, GlobalBackbone, FedAvgThenFineTuning, FedPer, TinyTrainAlone)
}


def federated_method(name: str) -> type[FederatedMethod]:
    """The method of that name.

    Raises:
        ConfigurationError: there is none.
    """
    if name not in FEDERATED_METHODS:
        raise ConfigurationError(f"unknown method {name!r}; the known ones are {', '.join(FEDERATED_METHODS)}")
    return FEDERATED_METHODS[name]
