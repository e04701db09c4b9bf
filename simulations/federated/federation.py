"""A whole federation: rounds of averaging, and what of the result nodes hold before the last personalisation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from simulations.federated.account import Round
from simulations.federated.arrays import record_of
from simulations.federated.averaging import arrays_of
from simulations.federated.baseline import OnRound
from simulations.federated.methods import FederatedMethod
from simulations.federated.options import START_RANDOM, FederatedSettings
from simulations.federated.orders import ARRAYS_RECORD, TRAIN_ADOPT, AdoptRequest, TrainRequest
from simulations.federated.strategy import FederatedAveraging
from simulations.federated.talk import Talk, request
from simulations.settings import FleetSettings
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import digest, to_bytes


@dataclass(frozen=True)
class Federation:
    """What came of it.

    Attributes:
        backbone: of the server, with the personal layers that it began with.
        participants: how many devices can take part, and what the others lack; empty where nothing was federated.
    """

    backbone: Backbone
    rounds: list[Round] = field(default_factory=list)
    participants: Mapping[str, int] = field(default_factory=dict)


def _order(fleet: FleetSettings, federated: FederatedSettings, start: Backbone) -> TrainRequest:
    return TrainRequest(
        architecture=start.spec.name,
        head_scale=start.head_scale,
        personal_blocks=federated.personal_blocks,
        seed=fleet.seed,
        steps=federated.local_steps,
        learning_rate=federated.learning_rate,
        optimiser=fleet.optimiser,
        views=fleet.views,
        precision=fleet.precision,
    )


def federate(
    method: type[FederatedMethod],
    talk: Talk,
    fleet: FleetSettings,
    federated: FederatedSettings,
    start: Backbone,
    on_round: OnRound = lambda _: None,
) -> Federation:
    """Train and average as the method does; without a federation the start is the result.

    Args:
        on_round: told of each round as it ends.
    """
    if not method.federates or not federated.rounds:
        if federated.start == START_RANDOM:
            _begin_at_random(talk, fleet, start)
        return Federation(start)
    strategy = FederatedAveraging(talk, _order(fleet, federated, start), start, federated.fraction, on_round)
    result = strategy.run(federated.rounds)
    if federated.personal_blocks:
        _send_base(talk, strategy, result)
    return Federation(result, strategy.rounds, strategy.participants.summary())


def _begin_at_random(talk: Talk, fleet: FleetSettings, start: Backbone) -> None:
    """Let every node draw the random weights itself: no weights are sent."""
    spec = start.spec.name
    content = request(AdoptRequest(digest=digest(to_bytes(start)), architecture=spec, random_seed=fleet.seed))
    talk.ask(dict.fromkeys(talk.present(), content), TRAIN_ADOPT)


def _send_base(talk: Talk, strategy: FederatedAveraging, result: Backbone) -> None:
    """Send the last base layers to nodes that hold the rest; who does not get them is sent the whole file later."""
    content = request(AdoptRequest(digest=digest(to_bytes(result)), architecture=result.spec.name))
    content[ARRAYS_RECORD] = record_of(arrays_of(result, strategy.names))
    talk.ask({node: content for node in talk.present() if node in strategy.equipped}, TRAIN_ADOPT)
