"""Flower's own FedAvg on a simulated fleet: its nodes are drawn by the fleet's seed and asked in the fleet's time.

What is averaged are the base layers; where a method has personal layers, a node gets these once, with the first
message that it answers, and the base alone from then on.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import cast

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from server.exchange import Cause
from simulations.federated.account import Round
from simulations.federated.arrays import arrays_in, record_of
from simulations.federated.averaging import arrays_of, base_names, with_arrays
from simulations.federated.orders import ARRAYS_RECORD, TRAIN_FEDERATED, Trained, TrainRequest, parse_answers
from simulations.federated.participants import Participants
from simulations.federated.talk import Talk, by_node, numbers, request
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.errors import BackboneError, EgressError
from tinytrain_core.seeds import Draw, generator

EXAMPLES = "num-examples"  # Flower's name for the weight of a part
LOSSES = ("loss-first", "loss-last")
UNTRAINED = "untrained"  # the node answered, and none of its devices has trained
CAUSES = (Cause.LATE.value, Cause.FAILED.value, Cause.REFUSED.value, UNTRAINED)  # why a node has no part


class FederatedAveraging(FedAvg):
    """FedAvg (McMahan et al. 2017), of base layers where there are personal ones (FedPer, Arivazhagan et al. 2019).

    Args:
        start: what the federation begins with.
        fraction: of the nodes that are there and can train.
        on_round: told of each round as it ends.
    """

    def __init__(
        self,
        talk: Talk,
        order: TrainRequest,
        start: Backbone,
        fraction: float,
        on_round: Callable[[Round], None] = lambda _: None,
    ) -> None:
        super().__init__(
            fraction_train=fraction,
            fraction_evaluate=0.0,
            min_train_nodes=1,
            min_available_nodes=1,
            arrayrecord_key=ARRAYS_RECORD,
        )
        self.talk, self.order, self.start_backbone, self.on_round = talk, order, start, on_round
        self.participants = Participants(talk, order)
        self.names = base_names(start.spec, order.personal_blocks)
        self.equipped: set[int] = set()  # nodes that have shown that they hold the personal layers' start
        self.rounds: list[Round] = []
        self._times_asked: Counter[int] = Counter()

    def run(self, rounds: int) -> Backbone:
        """All rounds; the start, with what was averaged in place of its base layers."""
        initial = record_of(arrays_of(self.start_backbone, self.names))
        found = self.start(self.talk.grid, initial, rounds, timeout=self.talk.deadline_s)
        return with_arrays(self.start_backbone, arrays_in(found.arrays)) if found.arrays else self.start_backbone

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The round's messages."""
        chosen = self._drawn(server_round, self.participants.awaited())
        self._times_asked.update(chosen)
        asked = {node - 1: self._times_asked[node] for node in chosen}
        self.rounds.append(Round(server_round, self.talk.clock.now_s(), asked))
        base = request(self.order.model_copy(update={"round": server_round}))
        base[ARRAYS_RECORD] = arrays
        whole = RecordDict(dict(base))
        whole[ARRAYS_RECORD] = record_of(arrays_of(self.start_backbone) | dict(arrays_in(arrays)))
        partly = self.equipped if self.order.personal_blocks else set()
        return self.talk.messages({node: base if node in partly else whole for node in chosen}, TRAIN_FEDERATED)

    def _drawn(self, server_round: int, nodes: list[int]) -> list[int]:
        if not nodes:
            return []
        count = max(1, int(self.fraction_train * len(nodes)))
        drawn = generator(self.order.seed, Draw.FEDERATED_NODES, server_round).permutation(len(nodes))[:count]
        return sorted(nodes[index] for index in drawn)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The mean of all valid parts, whatever else came or did not come."""
        account, received = self.rounds[-1], list(replies)
        valid = {node: reply for node, reply in by_node(received).items() if self._checked(node, reply, account)}
        kept = [reply for reply in valid.values() if reply.content.array_records]
        errors = sum(reply.has_error() for reply in received)
        refused, untrained = len(received) - errors - len(valid), len(valid) - len(kept)
        counts = zip(CAUSES, (len(account.nodes) - len(received), errors, refused, untrained), strict=True)
        account.missing = {cause: count for cause, count in counts if count}
        if Cause.LATE in account.missing:
            self._wait_until(account.sent_s + self.talk.deadline_s)
        self.equipped |= valid.keys()
        averaged, metrics = super().aggregate_train(server_round, kept)
        if metrics is not None:
            account.loss_first, account.loss_last = (cast(float, metrics[name]) for name in LOSSES)
        self.on_round(account)
        return averaged, metrics

    def _wait_until(self, time_s: float) -> None:
        """A server does not know that nothing will come: it waits for its deadline."""
        if (left_s := time_s - self.talk.clock.now_s()) > 0:
            self.talk.clock.sleep(left_s)

    def _checked(self, node: int, reply: Message, account: Round) -> bool:
        """Whether a reply is one; it is then in the form that Flower averages, and in the account."""
        try:
            answers = parse_answers(Trained, numbers(reply))
            arrays = self._weights(node, reply, answers)
        except (EgressError, BackboneError):
            return False
        parts, able = [a for a in answers if a.images], self.participants.able_devices(node)
        account.failed_devices += len(able) - len(parts)
        account.devices += len(parts)
        account.images += sum(part.images for part in parts)
        reply.content = RecordDict({} if arrays is None else {ARRAYS_RECORD: arrays, "metrics": _metrics(parts)})
        return True

    def _weights(self, node: int, reply: Message, answers: list[Trained]) -> ArrayRecord | None:
        """The weights in a reply; None where no device of the node has trained.

        Raises:
            EgressError: devices or numbers of images that the node has not announced, or weights without them.
            BackboneError: weights that are not the ones that were asked for.
        """
        announced, records = self.participants.images(node), reply.content.array_records
        parts = {answer.device: answer.images for answer in answers if answer.images}
        if {answer.device for answer in answers} != set(announced) or parts.items() - announced.items():
            raise EgressError("a node speaks of other devices or images than it has announced")
        if set(records) != ({ARRAYS_RECORD} if parts else set()):
            raise EgressError("weights come with numbers of images, and those with weights")
        if not parts:
            return None
        arrays = arrays_in(records[ARRAYS_RECORD])
        if set(arrays) != self.names:
            raise BackboneError(f"{len(arrays)} arrays came, {len(self.names)} are shared")
        with_arrays(self.start_backbone, arrays)
        return records[ARRAYS_RECORD]


def _metrics(parts: list[Trained]) -> MetricRecord:
    """The numbers of a node as Flower averages them."""
    images = sum(part.images for part in parts)
    first = sum(part.images * part.loss_first for part in parts) / images
    last = sum(part.images * part.loss_last for part in parts) / images
    return MetricRecord({EXAMPLES: images, LOSSES[0]: first, LOSSES[1]: last})
