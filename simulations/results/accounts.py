"""All that a run says of its devices, put together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from server.results import RoundRecord
from simulations.results.hosted import Hosted
from simulations.results.journeys import Journeys
from tinytrain_core.report import PersonalisationReport


@dataclass(frozen=True)
class Accounts:
    """All that a run says of its devices.

    Attributes:
        reports: of all rounds. rounds: the server's account of each.
        hosted, journeys: who was simulated and what became of each message; None where that is not known.
        liars: the nodes simulated as lying; None where that is not known.
    """

    reports: Sequence[PersonalisationReport]
    rounds: Sequence[RoundRecord]
    hosted: Hosted | None = None
    journeys: Journeys | None = None
    liars: Collection[int] | None = None

    def lies(self, device: int) -> bool | None:
        """Whether the device's node was simulated as lying; None where that is not known."""
        node = self.hosted.node_of(device) if self.hosted else None
        return None if self.liars is None or node is None else node in self.liars
