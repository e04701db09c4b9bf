"""A server's message at a node: taken, held until there is news, answered. As `client/connection/loop.py` does it."""

from dataclasses import dataclass

from client.config import NodeConfig
from simulations.rehearsal.node import SimulatedAgent
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import Answer, OrderRequest, SyncRequest

TTL_MARGIN_S = 10.0  # before a message's end, by which it is answered


@dataclass
class Question:
    """A message that waits for its answer. Times are seconds since 1970.

    Attributes:
        until_s: when it is answered though there is no news.
        size_bytes: of the message.
    """

    digest: str
    refused: ErrorCode
    taken_s: float
    until_s: float
    expires_s: float
    size_bytes: int


class Door:
    """Where a node's messages come in and its answers leave. There is one message at a time."""

    def __init__(self, node: NodeConfig, agent: SimulatedAgent) -> None:
        self.node, self.agent = node, agent
        self.question: Question | None = None

    def take(
        self, request: SyncRequest, backbone: bytes | None, size_bytes: int, now_s: float, expires_s: float
    ) -> None:
        """Do what a message asks; its answer may wait."""
        digest = request.digest
        if isinstance(request, OrderRequest):
            refused, digest = self.agent.order(request, backbone, now_s), request.request().digest
        else:
            refused = self.agent.sync(request)
        hold_s = 0.0 if refused else min(request.hold_s, expires_s - TTL_MARGIN_S - now_s)
        self.question = Question(digest, refused, now_s, now_s + hold_s, expires_s, size_bytes)

    def answer(self, now_s: float) -> Answer | None:
        """The answer to what is held, if it is due; it is then held no more."""
        if (question := self.question) is None:
            return None
        if now_s >= question.expires_s:
            self.question = None
            return None
        if now_s < question.until_s and not self.agent.news():
            return None
        self.question = None
        return self.agent.answer(question.digest, question.refused, now_s)
