"""All that a run says of its devices, put together."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from server.results import RoundRecord
from simulations.results.causes import RoundCauses
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

    @property
    def honest_reports(self) -> list[PersonalisationReport]:
        """The reports that are surely of devices whose nodes do not lie, where it is known who was simulated.

        A lie may be told in the name of an honest device: so its node has to have answered in that round, and no other
        report may be in its name.
        """
        answered = self._answered
        often = Counter((report.round, report.device) for report in self.reports)
        return [
            report
            for report in self.reports
            if self.lies(report.device) is False
            and often[report.round, report.device] == 1
            and (report.round, self.hosted and self.hosted.node_of(report.device)) in answered
        ]

    @property
    def _answered(self) -> set[tuple[int, int | None]]:
        """Rounds with the nodes of which the server has an answer."""
        nodes = len(self.hosted.sizes) if self.hosted else 0
        causes = [RoundCauses.of(record, nodes) for record in self.rounds]
        return {(number, node) for number, of in enumerate(causes, start=1) for node in of.asked - of.missing.keys()}
