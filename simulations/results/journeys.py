"""What became of the messages of each round, out of `visits.jsonl`: one journey for each node and round.

A round begins when its nodes are asked what they are. What is sent from then on, until the next round begins, is the
round's; what is sent before anybody is asked, as in federated training, belongs to the first one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from simulations.world.visit import Visit
from tinytrain_core.configuration import problems
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.wire import QUERY_PROFILE

VISITS_FILE = "visits.jsonl"
_VISIT = TypeAdapter(Visit)


@dataclass(slots=True)
class Journey:
    """What passed between the server and one node in one round; times are those of the round's last message to it.

    Attributes:
        kind: of that message.
        sent_s, started_s, arrived_s: virtual seconds since 1970; None where it never came to that.
        down_bytes, up_bytes, works: of all messages; `works` is device -> (seconds, joules).
        cause: why there is no answer to the last message; empty where there is one.
    """

    kind: str
    sent_s: float
    started_s: float | None
    arrived_s: float | None
    down_bytes: int
    up_bytes: int
    works: dict[int, tuple[float, float]]
    cause: str

    def add(self, visit: Visit) -> None:
        """A later message."""
        self.kind, self.sent_s, self.started_s, self.arrived_s = (
            visit.kind,
            visit.sent_s,
            visit.started_s,
            visit.arrived_s,
        )
        self.down_bytes += visit.down_bytes
        self.up_bytes += visit.up_bytes
        self.cause = visit.cause
        for work in visit.works:
            time_s, energy_j = self.works.get(work.device, (0.0, 0.0))
            self.works[work.device] = (time_s + work.time_s, energy_j + work.energy_j)


def _first(visit: Visit) -> Journey:
    journey = Journey(visit.kind, visit.sent_s, None, None, 0, 0, {}, "")
    journey.add(visit)
    return journey


@dataclass(frozen=True)
class RoundJourneys:
    """The journeys of a round, by node; `start_s` is virtual seconds since 1970."""

    start_s: float
    by_node: dict[int, Journey] = field(default_factory=dict)

    def add(self, visit: Visit) -> None:
        """The next message, in the order of sending."""
        if visit.node in self.by_node:
            self.by_node[visit.node].add(visit)
        else:
            self.by_node[visit.node] = _first(visit)


@dataclass(frozen=True)
class Journeys:
    """A whole run.

    Attributes:
        rounds: in order.
        start_s, end_s: when the first message was sent, and when the last answer was back, virtual seconds since 1970.
        messages: sent to nodes.
    """

    rounds: tuple[RoundJourneys, ...]
    start_s: float
    end_s: float
    messages: int

    @property
    def duration_s(self) -> float:
        """Virtual seconds from the first message to the last answer."""
        return self.end_s - self.start_s

    @property
    def down_bytes(self) -> int:
        """To all nodes in all rounds, over the air."""
        return sum(journey.down_bytes for found in self.rounds for journey in found.by_node.values())

    @property
    def up_bytes(self) -> int:
        """From all nodes in all rounds."""
        return sum(journey.up_bytes for found in self.rounds for journey in found.by_node.values())

    @property
    def energy_j(self) -> float:
        """That all devices spent on computing in all rounds."""
        return sum(
            energy_j for found in self.rounds for j in found.by_node.values() for _, energy_j in j.works.values()
        )


def journeys(visits: Iterable[Visit]) -> Journeys:
    """The journeys of the visits, which come in the order of (sent_s, node, number)."""
    rounds: list[RoundJourneys] = []
    asked_s: float | None = None  # when the round's nodes were
    end_s, messages = 0.0, 0
    for visit in visits:
        asks = visit.kind == QUERY_PROFILE
        if not rounds or (asks and asked_s is not None and visit.sent_s > asked_s):
            rounds.append(RoundJourneys(visit.sent_s))
        if asks:
            asked_s = visit.sent_s
        rounds[-1].add(visit)
        end_s = max(end_s, visit.sent_s, visit.arrived_s or 0.0)
        messages += 1
    start_s = rounds[0].start_s if rounds else 0.0
    return Journeys(tuple(rounds), start_s, max(end_s, start_s), messages)


def _visits(file: Path) -> Iterator[Visit]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield _VISIT.validate_json(line)
            except ValidationError as error:
                raise ConfigurationError(f"{file}, line {number}, is not a visit: {problems(error)}") from None


def read_journeys(out: Path) -> Journeys | None:
    """The journeys of the run in the folder `out`; None where it has no account of them, as of Flower's own engine.

    Raises:
        ConfigurationError: a line is not that of a visit.
    """
    file = out / VISITS_FILE
    found = journeys(_visits(file)) if file.is_file() else None
    return found if found and found.messages else None
