"""Why a device has no result in a round: of what is known, what says most."""

from collections.abc import Mapping
from dataclasses import dataclass

from server.results import RoundRecord
from simulations.results.journeys import Journey
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome, PersonalisationReport

OFFLINE = "offline"  # it was not there when the round began
UNREPORTED = "not among its node's reports"
FIRST_NODE_ID = 1  # Flower's id of the node with partition id 0, on our grid


def error_name(code: int) -> str:
    """The name of an error code, the number itself where this version does not know it."""
    known = {int(error): error.name.lower() for error in ErrorCode}
    return known.get(code, f"code {code}")


@dataclass(frozen=True)
class RoundCauses:
    """What the server says of the nodes of a round.

    Attributes:
        missing: node -> why it gave no answer. asked: the nodes that the round began with.
        anybody: what can be said where the server's names of nodes are not their numbers here, as those of Flower's
            own engine; empty where they are.
    """

    missing: Mapping[int, str]
    asked: frozenset[int]
    anybody: str = ""

    @classmethod
    def of(cls, record: RoundRecord, nodes: int) -> "RoundCauses":
        """Out of a round of `run.json`, in a fleet of so many nodes."""
        asked = frozenset(int(node) - FIRST_NODE_ID for node in record.nodes)
        missing = {int(entry.node) - FIRST_NODE_ID: entry.cause for entry in record.missing}
        if all(0 <= node < nodes for node in asked):
            return cls(missing, asked)
        return cls({}, frozenset(), " or ".join(sorted(set(missing.values()))) or UNREPORTED)

    def of_node(self, node: int, journey: Journey | None) -> str:
        """Why a device of the node has no report: what happened on the way says more than that nothing came."""
        if journey is not None and journey.cause:
            return journey.cause
        if self.anybody:
            return self.anybody
        return self.missing.get(node) or (UNREPORTED if node in self.asked else OFFLINE)


def cause_of(report: PersonalisationReport) -> str:
    """Why a report is none of a result; empty where it is."""
    return error_name(report.error) if report.outcome == Outcome.FAILED else ""
