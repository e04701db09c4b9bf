"""A finished run in figures: what the reports say, what happened on the way, and both without those that lie."""

from dataclasses import asdict, dataclass
from typing import Any

from simulations.reporting.summary import Summary, summarise
from simulations.reporting.units import (
    bytes_text,
    count_text,
    counted,
    gain_text,
    interval_text,
    joules_text,
    percent_text,
    points_text,
    seconds_text,
)
from simulations.results.accounts import Accounts
from simulations.results.happened import Happened, happened
from simulations.results.table import device_rounds


@dataclass(frozen=True)
class Account:
    """The figures of a run.

    Attributes:
        summary: of the reports, as the server has them.
        whole, classes: what happened, to all devices and to each class; None and empty where the run does not say.
        duration_s: virtual, of the whole run. energy_j, down_bytes, up_bytes, messages: of all nodes in all rounds.
        honest: the summary of the reports that are surely no lies; None where no node was simulated as lying.
        liars: so many nodes lie.
    """

    summary: Summary
    whole: Happened | None = None
    classes: tuple[Happened, ...] = ()
    duration_s: float | None = None
    energy_j: float | None = None
    down_bytes: int | None = None
    up_bytes: int | None = None
    messages: int | None = None
    honest: Summary | None = None
    liars: int = 0

    @property
    def devices(self) -> int:
        """That took part or should have."""
        return self.whole.devices if self.whole else self.summary.fleet.devices


def _honest(accounts: Accounts) -> Summary | None:
    if not accounts.liars:
        return None
    return summarise(accounts.honest_reports)


def account_of(accounts: Accounts) -> Account:
    """The figures of a run."""
    summary, journeys = summarise(accounts.reports), accounts.journeys
    honest, liars = _honest(accounts), len(accounts.liars or ())
    if journeys is None or accounts.hosted is None:
        return Account(summary, honest=honest, liars=liars)
    whole, *classes = happened(device_rounds(accounts))
    return Account(
        summary,
        whole,
        tuple(classes),
        journeys.duration_s,
        journeys.energy_j,
        journeys.down_bytes,
        journeys.up_bytes,
        journeys.messages,
        honest,
        liars,
    )


def lines(account: Account) -> list[str]:
    """What a terminal says below the table."""
    fleet = account.summary.fleet
    said = []
    if fleet.worst_decile is not None:
        said.append(
            f"worst tenth: {points_text(fleet.worst_decile)} points on average, a tenth of the devices gain less than "
            f"{points_text(fleet.worst_threshold)}; harmed: {percent_text(fleet.worse_share, 1)} of the devices "
            f"(95 %: {interval_text(fleet.worse_interval)})"
        )
    if account.whole:
        said += _journey_lines(account, account.whole)
    if account.honest:
        fleet, lie = account.honest.fleet, "lies" if account.liars == 1 else "lie"
        said.append(
            f"without {counted(account.liars, 'node')} that {lie}: gain {gain_text(fleet.gain)} points, worst tenth "
            f"{points_text(fleet.worst_decile)}, harmed {percent_text(fleet.worse_share, 1)}"
        )
    return said


def _journey_lines(account: Account, whole: Happened) -> list[str]:
    time = whole.time_s
    done = ""
    if time:
        by = f"{seconds_text(time.median)}, 90 % in {seconds_text(time.ninth)}"
        done = f"; half of those that reported were done in {by}"
    return [
        f"virtual time: {seconds_text(account.duration_s)}{done}",
        f"energy of computing: {joules_text(account.energy_j)}; over the air: {bytes_text(account.down_bytes or 0)} "
        f"down, {bytes_text(account.up_bytes or 0)} up in {count_text(account.messages or 0)} messages",
    ]


def _plain(row: Happened) -> dict[str, Any]:
    """For JSON; without the curves, which are for plots."""
    fields = asdict(row)
    for name in ("time_s", "memory", "macs"):
        if fields[name]:
            del fields[name]["curve"]
    return fields


def as_fields(account: Account) -> dict[str, Any]:
    """What JSON has beside the summary."""
    if account.whole is None:
        return {}
    return {
        "happened": {
            "duration_s": account.duration_s,
            "energy_j": account.energy_j,
            "down_bytes": account.down_bytes,
            "up_bytes": account.up_bytes,
            "messages": account.messages,
            "fleet": _plain(account.whole),
            "classes": [_plain(row) for row in account.classes],
        },
        "byzantine_nodes": account.liars,
        "honest": asdict(account.honest.fleet) if account.honest else None,
    }
