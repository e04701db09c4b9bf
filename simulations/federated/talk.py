"""The server's messages of a federated baseline and what comes back, in the fleet's time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from pydantic import BaseModel

from server.app import TTL_GRACE_S
from server.clock import Clock
from tinytrain_core import wire


def numbers(reply: Message) -> dict[str, dict[str, Any]]:
    """The records of numbers in a reply, by name; none for an error."""
    records = reply.content.metric_records.items() if reply.has_content() else ()
    return {name: dict(record) for name, record in records}


@dataclass(frozen=True)
class Talk:
    """One grid, a clock and a deadline for every answer.

    Attributes:
        nodes: how many there are, present or not.
    """

    grid: Grid
    clock: Clock
    deadline_s: float
    nodes: int

    def present(self) -> list[int]:
        """The nodes that can be reached now, in order."""
        return sorted(self.grid.get_node_ids())

    def messages(self, contents: Mapping[int, RecordDict], kind: str) -> list[Message]:
        """A message to each node."""
        ttl = self.deadline_s + TTL_GRACE_S
        return [Message(content, node, kind, ttl=ttl) for node, content in contents.items()]

    def ask(self, contents: Mapping[int, RecordDict], kind: str) -> dict[int, Message]:
        """The replies that came in time and are no errors, by node, in order."""
        if not contents:
            return {}
        return by_node(self.grid.send_and_receive(self.messages(contents, kind), timeout=self.deadline_s))


def by_node(replies: Iterable[Message]) -> dict[int, Message]:
    """Replies that are no errors, by the node that they are from, in order, so that none depends on who was first."""
    found = {reply.metadata.src_node_id: reply for reply in replies if reply.has_content()}
    return dict(sorted(found.items()))


def request(order: BaseModel) -> RecordDict:
    """A message's content with an order in it."""
    return RecordDict({wire.REQUEST_RECORD: ConfigRecord(order.model_dump())})
