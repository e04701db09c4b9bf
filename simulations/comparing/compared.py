"""The runs of a comparison, each with a name, and what they have to have in common."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from simulations.finished_run import Run, read_run
from simulations.reporting.account import Account
from simulations.reporting.summary import latest
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.report import PersonalisationReport

LEAST = 2
MOST = 8  # as many colours as plots have


@dataclass(frozen=True)
class Compared:
    """One run of a comparison."""

    name: str
    folder: Path
    run: Run

    @property
    def account(self) -> Account:
        """Its figures."""
        return self.run.account

    @property
    def method(self) -> str:
        """What it adapted with; of a federated baseline, that."""
        return self.run.baseline or self.run.settings.method

    @cached_property
    def by_device(self) -> dict[int, PersonalisationReport]:
        """The last report of each device that has accuracies; none of a number that several reports carry, or of 0."""
        last = latest(self.run.reports)
        often = Counter(report.device for report in last)
        return {r.device: r for r in last if r.device and often[r.device] == 1 and r.has_accuracies}


def _distinct(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


def default_names(folders: Sequence[Path]) -> list[str]:
    """What the runs are called where nobody says: their folders' names; the whole paths where two clash."""
    names = [folder.resolve().name for folder in folders]
    return names if _distinct(names) else [str(folder) for folder in folders]


def _check_folders(folders: Sequence[Path]) -> None:
    if not LEAST <= len(folders) <= MOST:
        given = ", ".join(map(str, folders)) or "none"
        raise ConfigurationError(
            f"a comparison is of {LEAST} to {MOST} runs; {len(folders)} given: {given}. Name the --out folders of "
            "runs; the first one is what the others are compared with"
        )
    twice = [str(folder) for folder, count in Counter(f.resolve() for f in folders).items() if count > 1]
    if twice:
        raise ConfigurationError(f"{twice[0]} is given twice; a run differs from itself in nothing")


def _check_names(names: Sequence[str], runs: int) -> None:
    if len(names) != runs:
        raise ConfigurationError(
            f"{len(names)} times --name for {runs} runs; name all of them, in their order, or none"
        )
    if not _distinct(names):
        raise ConfigurationError(f"two runs are called the same: {', '.join(names)}; give each --name its own")


def _check_rounds(compared: Sequence[Compared]) -> None:
    rounds = {one.name: len(one.run.server.rounds) for one in compared}
    if len(set(rounds.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in rounds.items())
        raise ConfigurationError(f"the runs have different numbers of rounds: {told}; run them with the same `rounds`")


def read_compared(folders: Sequence[Path], names: Sequence[str] = ()) -> list[Compared]:
    """The runs in the folders, the reference first.

    Raises:
        ConfigurationError: fewer than two or too many, one twice, one that is no run or is damaged, names that are not
            as many or not distinct, or different numbers of rounds.
        EgressError: a line of reports is not a valid report.
    """
    _check_folders(folders)
    if names:
        _check_names(names, len(folders))
    runs = [read_run(folder) for folder in folders]
    called = list(names) or default_names(folders)
    compared = [Compared(*found) for found in zip(called, folders, runs, strict=True)]
    _check_rounds(compared)
    return compared
