"""One exchange with many nodes as a pure state: what is out, what came back, and who is missing and why.

There is no clock and no transport in it; its caller says what time it is. Whatever comes back is validated
again, because a node can run any code. The order in which replies arrive leaves no trace in the results.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile
from typing import Any, Generic, TypeVar

from tinytrain_core.errors import EgressError
from tinytrain_core.report import Outcome, PersonalisationReport
from tinytrain_core.wire import NodeProfile, validate_metrics

Records = Mapping[str, Mapping[str, Any]]
# devices done, devices in all, the reports that just came
OnReports = Callable[[int, int, list[PersonalisationReport]], None]
AnswerType = TypeVar("AnswerType", NodeProfile, list[PersonalisationReport])


class Cause(StrEnum):
    """Why a node gave no answer."""

    LATE = "late"  # nothing came before the deadline
    FAILED = "failed"  # it could not be reached, or its runtime failed
    REFUSED = "refused"  # what came is not a valid answer, or about another number of devices than announced


@dataclass(frozen=True, order=True)
class Missing:
    """A node without an answer."""

    node: int
    cause: Cause


def _speaks_for_itself(reports: list[PersonalisationReport]) -> bool:
    """Whether a node says that it lost its configuration: one failure of device 0, which is no device's number."""
    return len(reports) == 1 and reports[0].device == 0 and reports[0].outcome == Outcome.FAILED


@dataclass(frozen=True)
class _Sent:
    node: int
    deadline_s: float


@dataclass
class Exchange(Generic[AnswerType]):
    """Messages to nodes, each with a deadline of its own, and the answers.

    Attributes:
        kind: `NodeProfile` or `list`: what the nodes were asked for.
        deadline_s: seconds from the sending of a message.
        announced: the devices that each node has said it hosts; 0 and a node that is not in it are not held to it.
        ended: the nodes of which nothing more is expected, in the order in which that became known.
    """

    kind: type[AnswerType]
    deadline_s: float
    announced: Mapping[int, int] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    # ordered, because the first of a dict is ever slower to find the more were taken from before it
    _out: OrderedDict[str, _Sent] = field(default_factory=OrderedDict)
    _answers: dict[int, AnswerType] = field(default_factory=dict)
    _missing: set[Missing] = field(default_factory=set)

    def sent(self, message_id: str, node: int, now_s: float) -> None:
        """A message went out at the time `now_s`."""
        self._out[message_id] = _Sent(node, now_s + self.deadline_s)

    def unsent(self, node: int) -> None:
        """A message could not be sent."""
        self._lacks(node, Cause.FAILED)

    def _lacks(self, node: int, cause: Cause) -> None:
        self._missing.add(Missing(node, cause))
        self.ended.append(node)

    def receive(self, message_id: str, records: Records | None) -> AnswerType | None:
        """A reply came; `records` is None where the transport reports a failure instead.

        Returns:
            The answer; None if it is none, or nobody waits for it any more.
        """
        sent = self._out.pop(message_id, None)
        if sent is None:
            return None
        if records is None:
            self._lacks(sent.node, Cause.FAILED)
            return None
        answer = self._validated(sent.node, records)
        if answer is None:
            self._lacks(sent.node, Cause.REFUSED)
        else:
            self._answers[sent.node] = answer
            self.ended.append(sent.node)
        return answer

    def _validated(self, node: int, records: Records) -> AnswerType | None:
        try:
            answer = validate_metrics(records)
        except EgressError:
            return None
        if not isinstance(answer, self.kind):
            return None
        devices = self.announced.get(node, 0)
        whole = not devices or isinstance(answer, NodeProfile) or len(answer) == devices or _speaks_for_itself(answer)
        return answer if whole else None

    def expire(self, now_s: float) -> None:
        """Give up on every message whose deadline has passed; they pass in the order of sending."""
        late = list(takewhile(lambda message_id: self._out[message_id].deadline_s <= now_s, self._out))
        for message_id in late:
            self._lacks(self._out.pop(message_id).node, Cause.LATE)

    @property
    def outstanding(self) -> Collection[str]:
        """The messages that are waited for, always as they are now."""
        return self._out.keys()

    @property
    def answers(self) -> dict[int, AnswerType]:
        """The answers so far by node, in the order of the nodes."""
        return dict(sorted(self._answers.items()))

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The nodes that will not answer, in order."""
        return tuple(sorted(self._missing))
