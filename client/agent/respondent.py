"""What answers a server's messages, and the answer of a node that cannot do more than say so."""

from typing import Protocol

from client.agent.state import AgentState
from client.config import NodeConfig
from tinytrain_core import __version__
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import Answer, NodeStatus, OrderRequest, SyncRequest
from tinytrain_core.release import version_numbers

CLIENT = version_numbers(__version__)


class Respondent(Protocol):
    """What answers a server's messages."""

    def order(self, request: OrderRequest, backbone: bytes | None, now_s: float) -> ErrorCode:
        """Take an order, or say why not."""

    def sync(self, request: SyncRequest) -> ErrorCode:
        """Forget what the server has stored."""

    def tick(self, now_s: float) -> None:
        """Do what there is to do."""

    def answer(self, digest: str, refused: ErrorCode, now_s: float) -> Answer:
        """What the server is told."""

    def news(self) -> bool:
        """Whether a question that is held open should be answered now."""

    def busy(self) -> bool:
        """Whether there is an order, or a report that waits."""

    def working(self) -> bool:
        """Whether a worker is there, at work or paused."""

    def stop(self) -> None:
        """End what runs, so that it can go on later."""


def status_of(node: NodeConfig, state: AgentState | None, refused: ErrorCode, now_s: float) -> NodeStatus:
    """A node's status, as far as its state can be read."""
    major, minor, patch = CLIENT
    status = NodeStatus(
        client=1_000_000 * major + 1_000 * minor + patch,
        devices=len(node.devices),
        refused=int(refused),
        clock=max(int(now_s), 0),
    )
    if state is None:
        return status
    last, standing = state.last(), state.standing
    known = {
        "version": standing.in_use.version,
        "highest": standing.accepted.highest,
        "rollout": last.rollout if last else 0,
        "attempt": last.attempt if last else 0,
        "pending": state.pending(),
        "dropped": state.number("dropped"),
        "restarts": state.number("restarts"),
    }
    return status.model_copy(update=known)


class Unable:
    """A node whose state cannot be opened: it says so to every order, and carries out none."""

    def __init__(self, node: NodeConfig, code: ErrorCode) -> None:
        self._node, self._code = node, code

    def order(self, request: OrderRequest, backbone: bytes | None, now_s: float) -> ErrorCode:
        """Refuse it."""
        return self._code

    def sync(self, request: SyncRequest) -> ErrorCode:
        """Say that nothing can be written."""
        return self._code

    def tick(self, now_s: float) -> None:
        """Do nothing."""

    def answer(self, digest: str, refused: ErrorCode, now_s: float) -> Answer:
        """Tell what is known without the state."""
        return Answer(status=status_of(self._node, None, self._code, now_s))

    def news(self) -> bool:
        """Never."""
        return False

    def busy(self) -> bool:
        """Never."""
        return False

    def working(self) -> bool:
        """Never."""
        return False

    def stop(self) -> None:
        """Do nothing."""
