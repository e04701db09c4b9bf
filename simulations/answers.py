"""What a simulated node's message to the server is, and when it is worth nothing any more."""

from dataclasses import dataclass

from flwr.app import Message, Metadata

from simulations.computing import Sent
from simulations.records import Plain
from simulations.serving import RUN, SERVER, received


@dataclass(frozen=True, slots=True)
class Answer:
    """What arrives: records, or one of Flower's codes of errors."""

    sent: Sent
    records: Plain | None
    error: int
    cause: str

    def expired(self, now_s: float) -> bool:
        """Whether nobody may use it any more."""
        return self.sent.sent_s + self.sent.ttl_s < now_s

    def message(self, now_s: float) -> Message:
        """It as Flower's message to the server."""
        sent = self.sent
        metadata = Metadata(
            run_id=RUN,
            message_id=f"{sent.key}-reply",
            src_node_id=sent.node + 1,
            dst_node_id=SERVER,
            reply_to_message_id=sent.message_id,
            group_id=sent.group_id,
            created_at=now_s,
            ttl=sent.ttl_s,
            message_type=sent.kind,
        )
        return received(self.records, self.error, self.cause, metadata)
