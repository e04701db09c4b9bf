"""One tidy table: a row for each device and round, also of devices without a report; built column by column."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from simulations.results.accounts import Accounts
from simulations.results.causes import RoundCauses, cause_of, error_name
from simulations.results.columns import COLUMNS, FACTS, FIGURES
from simulations.results.hosted import Cell, Hosted
from simulations.results.inference import DIGITS
from simulations.results.journeys import Journey, RoundJourneys
from tinytrain_core.devices.profile import DeviceProfile, catalogue
from tinytrain_core.report import Outcome, PersonalisationReport
from tinytrain_core.selection.methods import METHODS

Columns = dict[str, list[Cell]]
Rows = Sequence[tuple[int, PersonalisationReport | None]]
KEEPS_BASE = (Outcome.KEPT_BASE, Outcome.CANNOT_AFFORD, Outcome.NOT_ADAPTED)
ACCURACIES = ("accuracy_before", "accuracy_after")


def _rows(hosted: Hosted | None, reports: Iterable[PersonalisationReport]) -> Rows:
    """Each device of the round with its report, if there is one, by number; a number may have several."""
    rows: list[tuple[int, PersonalisationReport | None]] = [(report.device, report) for report in reports]
    if hosted:
        there = {number for number, _ in rows}
        rows += [(number, None) for number in hosted.numbers if number not in there]
    return sorted(rows, key=lambda row: row[0])


@dataclass(frozen=True)
class _Round:
    """One round of a run: its rows, and what is known of each of them."""

    number: int
    accounts: Accounts
    rows: Rows
    causes: RoundCauses
    journeys: RoundJourneys | None

    def columns(self) -> Columns:
        found = self._identity() | self._figures() | self._result() | self._journey() | self._facts()
        return {column.name: found[column.name] for column in COLUMNS}

    def _of_reports(self, of: Callable[[PersonalisationReport], Cell]) -> list[Cell]:
        return [None if report is None else of(report) for _, report in self.rows]

    @cached_property
    def _places(self) -> list[int | None]:
        places = self.accounts.hosted.places if self.accounts.hosted else {}
        return [places.get(device) for device, _ in self.rows]

    @cached_property
    def _nodes(self) -> list[int | None]:
        hosted = self.accounts.hosted
        return [None if hosted is None or place is None else hosted.nodes[place] for place in self._places]

    @cached_property
    def _on_the_way(self) -> list[Journey | None]:
        """The journey of each row's node; of several reports in one device's name it is the first one's."""
        by_node: Mapping[int, Journey] = self.journeys.by_node if self.journeys else {}
        devices = [device for device, _ in self.rows]
        again = [row > 0 and devices[row - 1] == device for row, device in enumerate(devices)]
        return [None if node is None or a else by_node.get(node) for node, a in zip(self._nodes, again, strict=True)]

    def _profiles(self) -> list[DeviceProfile | None]:
        hosted, known = self.accounts.hosted, {profile.number: profile for profile in catalogue().values()}
        told = [0 if report is None else report.profile for _, report in self.rows]
        numbers = [
            told[row] if hosted is None or place is None else hosted.profiles[place]
            for row, place in enumerate(self._places)
        ]
        return [known.get(number) for number in numbers]

    def _identity(self) -> Columns:
        methods = {kind.number: name for name, kind in METHODS.items()}
        outcomes = {int(outcome): outcome.name.lower() for outcome in Outcome}
        profiles = self._profiles()
        lies = [self.accounts.lies(device) for device, _ in self.rows]
        return {
            "round": [self.number] * len(self.rows),
            "device": [device for device, _ in self.rows],
            "node": list(self._nodes),
            "device_class": [profile.name if profile else None for profile in profiles],
            "family": [profile.family if profile else None for profile in profiles],
            "byzantine": [None if lie is None else int(lie) for lie in lies],
            "reported": [int(report is not None) for _, report in self.rows],
            "cause": self._causes(),
            "method": self._of_reports(lambda r: methods.get(r.method, f"method {r.method}") if r.method else None),
            "outcome": self._of_reports(lambda r: outcomes[r.outcome]),
            "error": self._of_reports(lambda r: error_name(r.error) if r.error else None),
        }

    def _causes(self) -> list[Cell]:
        known = zip(self.rows, self._nodes, self._on_the_way, strict=True)
        return [
            (cause_of(report) or None) if report is not None else self.causes.of_node(-1 if n is None else n, journey)
            for (_, report), n, journey in known
        ]

    def _figures(self) -> Columns:
        return {
            column.name: self._of_reports(lambda r, name=column.name: _figure(r, name))  # type: ignore[misc]
            for column in FIGURES
        }

    def _result(self) -> Columns:
        return {
            "gain": self._of_reports(_gain),
            "accuracy_in_use": self._of_reports(accuracy_in_use),
            "updated_channel_count": self._of_reports(lambda r: sum(r.updated_channels)),
            "updated_channels": self._of_reports(lambda r: " ".join(map(str, r.updated_channels))),
        }

    def _journey(self) -> Columns:
        journeys, found = self.accounts.journeys, self.journeys
        start_s = found.start_s if found else 0.0
        ways = self._on_the_way
        begun_s = start_s - journeys.start_s if journeys and found else None
        return {
            "round_start_s": [begun_s] * len(self.rows),
            "sent_s": [_since(start_s, journey.sent_s if journey else None) for journey in ways],
            "started_s": [_since(start_s, journey.started_s if journey else None) for journey in ways],
            "arrived_s": [_since(start_s, journey.arrived_s if journey else None) for journey in ways],
            "time_s": self._times(ways),
            **self._works(ways),
            **self._bytes(ways),
        }

    def _times(self, ways: Sequence[Journey | None]) -> list[Cell]:
        return [
            journey.arrived_s - journey.sent_s
            if report is not None and journey is not None and journey.arrived_s is not None
            else None
            for (_, report), journey in zip(self.rows, ways, strict=True)
        ]

    def _works(self, ways: Sequence[Journey | None]) -> Columns:
        """What was computed; where there is no account of it, what the device's own class would have taken."""
        if self.journeys is None:
            return {
                "compute_s": self._of_reports(lambda r: r.estimated_s),
                "energy_j": self._of_reports(lambda r: r.estimated_j),
            }
        works = [
            None if journey is None else journey.works.get(device)
            for (device, _), journey in zip(self.rows, ways, strict=True)
        ]
        return {
            "compute_s": [work[0] if work else None for work in works],
            "energy_j": [work[1] if work else None for work in works],
        }

    def _bytes(self, ways: Sequence[Journey | None]) -> Columns:
        shared = [self._shared(place, journey) for place, journey in zip(self._places, ways, strict=True)]
        return {"down_bytes": [down for down, _ in shared], "up_bytes": [up for _, up in shared]}

    def _shared(self, place: int | None, journey: Journey | None) -> tuple[int | None, int | None]:
        """The device's part of its node's bytes down and up; the parts of a node's devices add up to them."""
        hosted = self.accounts.hosted
        if journey is None or hosted is None or place is None:
            return None, None
        node = hosted.nodes[place]
        size, position = hosted.sizes[node], place - hosted.firsts[node]
        down, up = (total // size + (position < total % size) for total in (journey.down_bytes, journey.up_bytes))
        return down, up

    def _facts(self) -> Columns:
        hosted, places = self.accounts.hosted, self._places
        if hosted is None:
            return {column.name: [None] * len(self.rows) for column in FACTS}
        facts = hosted.facts
        return {c.name: [None if p is None else facts[c.name][p] for p in places] for c in FACTS}


def _since(start_s: float, at_s: float | None) -> float | None:
    return None if at_s is None else at_s - start_s


def _figure(report: PersonalisationReport, name: str) -> Cell:
    value: Cell = getattr(report, name)
    return None if name in ACCURACIES and not report.has_accuracies else value


def _gain(report: PersonalisationReport) -> float | None:
    return None if report.gain is None else round(report.gain, DIGITS)


def accuracy_in_use(report: PersonalisationReport) -> float | None:
    """The accuracy of what the device uses after it; None where it does not tell."""
    if report.outcome == Outcome.ADAPTED:
        return report.accuracy_after
    return report.accuracy_before if report.outcome in KEEPS_BASE else None


def device_rounds(accounts: Accounts) -> Iterator[Columns]:
    """The table, a round at a time; within it by device."""
    by_round: dict[int, list[PersonalisationReport]] = {}
    for report in accounts.reports:
        by_round.setdefault(report.round, []).append(report)
    nodes = len(accounts.hosted.sizes) if accounts.hosted else 0
    ways = accounts.journeys.rounds if accounts.journeys else ()
    for number, record in enumerate(accounts.rounds, start=1):
        journeys = ways[number - 1] if number <= len(ways) else None
        rows = _rows(accounts.hosted, by_round.get(number, ()))
        yield _Round(number, accounts, rows, RoundCauses.of(record, nodes), journeys).columns()
