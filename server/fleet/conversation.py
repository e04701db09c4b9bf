"""What the controller remembers of its talk with a node. All of it may be lost: it is then asked for again.

Times are seconds of a clock that never jumps.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from server.fleet.rollout.state import Progress, Step
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import NodeState, NodeStatus

GAP_S = 5.0  # at least, between two messages to a node that has nothing new to tell
LOST_PAUSE_S = 15.0  # after a message that was lost, or not sent
SYNC_PERIOD_S = 600.0  # in which every node is asked for what it still has
LACKING = (ErrorCode.BACKBONE, ErrorCode.BACKBONE_MISSING)


class Due(StrEnum):
    """What a node is to be told, the most urgent first."""

    ORDER = "order"
    WATCH = "watch"  # asked what became of its order, to be answered when there is news
    SYNC = "sync"  # asked for what it has, to be answered at once
    NOTHING = "nothing"


@dataclass(frozen=True)
class Sent:
    """A message that has not come back.

    Attributes:
        until_s: when the link should long have told what became of it.
        attempt: of the order that it is; 0 for a question.
        digest: of the backbone that it asks about; acknowledged: the reports that it says are stored.
    """

    at_s: float
    until_s: float
    attempt: int = 0
    digest: str = ""
    acknowledged: tuple[int, ...] = ()


@dataclass
class Talk:
    """The conversation with one node.

    Attributes:
        next_s: nothing is said before; sync_s: when it is asked though nothing is due; told_s: of the last message.
        unwanted: the ids of reports that are refused for good, to be acknowledged with the next message.
        busy: it said that it is at work.
        holds: whether it holds the backbone of a digest; what is not in it is not known.
    """

    sent: Sent | None = None
    present: bool = False
    next_s: float = 0.0
    sync_s: float = 0.0
    told_s: float = 0.0
    unwanted: tuple[int, ...] = ()
    busy: bool = False
    holds: dict[str, bool] = field(default_factory=dict)

    def appears(self, present: bool, now_s: float) -> None:
        """It is online, or not: one that comes back is asked at once."""
        if present and not self.present:
            self.sync_s = now_s
        self.present = present

    def lost(self, now_s: float) -> None:
        """The message was lost on its way there or back, and with it what was known of its backbone."""
        if self.sent:
            self.holds.pop(self.sent.digest, None)
        self.sent, self.next_s = None, now_s + LOST_PAUSE_S

    def answered(self, status: NodeStatus, stored: int, now_s: float) -> None:
        """An answer came, with so many reports that are new, which it is to be told soon."""
        sent, self.sent = self.sent, None
        self.busy = status.state != NodeState.IDLE
        self.sync_s = now_s if stored else now_s + SYNC_PERIOD_S
        if sent is None:
            return
        probed = bool(sent.digest) and sent.digest not in self.holds
        if sent.digest:
            self.holds = {sent.digest: bool(status.holds_backbone) and status.refused not in LACKING}
        self.next_s = now_s if stored or probed else sent.at_s + GAP_S

    def speakable(self, now_s: float) -> bool:
        """Whether anything may be said to the node now."""
        return self.present and self.sent is None and now_s >= self.next_s

    def due(self, node: Progress | None, orders: bool, now_s: float) -> Due:
        """What the node is to be told now, where it is `speakable`.

        Args:
            node: where it stands in the rollout; orders: whether that sends it orders now.
        """
        accepted = node is not None and node.accepted
        ordered = node is not None and node.step is Step.ORDERED
        if ordered and not accepted and orders:
            return Due.ORDER
        if self.busy or (ordered and accepted):
            return Due.WATCH
        return Due.SYNC if now_s >= self.sync_s else Due.NOTHING
