"""What the page says of what happened in a fleet, as texts: tiles, two tables, what lying did, and the plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulations.reporting import units
from simulations.reporting.account import Account
from simulations.reporting.happened_figures import Palette, cause_text, causes_figure, time_figure
from simulations.reporting.summary import UNKNOWN_PROFILE, WHOLE_FLEET, ClassRow, Summary, class_title
from simulations.reporting.svg import CLASS_COLOURS
from simulations.results.happened import Happened, Spread
from tinytrain_core.devices.profile import catalogue

Texts = tuple[str, ...]
LOSS_HEAD = (
    "device class",
    "gain, points",
    "worst tenth,\nmean gain",
    "a tenth gain\nless than",
    "harmed",
    "harmed,\n95 % interval",
)
HAPPENED_HEAD = (
    "device class",
    "devices",
    "with a\nresult",
    "time,\nmedian",
    "time,\n90 %",
    "energy,\nmean",
    "down,\neach",
    "up,\neach",
    "memory of budget,\nmedian / most",
    "MACs of budget,\nmedian / most",
)
LIES_HEAD = ("devices", "reports", "accuracy\nafter, %", "gain, points", "worst tenth", "harmed", "95 % interval")
CAUSES_HEAD = ("cause", "without a result", "of all", "most of them")


@dataclass(frozen=True)
class HappenedTexts:
    """The section; a row has the position of its class's colour, None where it is of no class."""

    tiles: Sequence[tuple[str, str, str]]
    rows: Sequence[tuple[int | None, Texts]]
    causes: Sequence[Texts]
    lies: Sequence[Texts]
    liars: int
    time: str
    causes_plot: str


def palette(summary: Summary, classes: Sequence[Happened]) -> Palette:
    """A position for the colour of each class: that of its row in the summary, and more for those that are silent."""
    known = {row.profile: position for position, row in enumerate(summary.rows)}
    found: dict[str, int] = {}
    for row in classes:
        found[row.name] = known.setdefault(_number(row.name), len(known))
    return found


def _number(name: str) -> int:
    return catalogue()[name].number if name else UNKNOWN_PROFILE


def _title(row: Happened) -> str:
    return class_title(_number(row.name))


def losses(summary: Summary) -> list[tuple[int | None, Texts]]:
    """Who gains least and who is harmed, class by class and in all."""
    rows: list[tuple[int | None, Texts]] = [
        (position % len(CLASS_COLOURS), _loss(row)) for position, row in enumerate(summary.rows)
    ]
    return [*rows, (None, _loss(summary.fleet))]


def _loss(row: ClassRow) -> Texts:
    return (
        row.title,
        units.gain_text(row.gain),
        units.points_text(row.worst_decile),
        units.points_text(row.worst_threshold),
        units.percent_text(row.worse_share, 1),
        units.interval_text(row.worse_interval),
    )


def _use(spread: Spread | None) -> str:
    if spread is None:
        return units.NOTHING
    return f"{units.percent_text(spread.median)} / {units.percent_text(spread.greatest)}"


def _each(total: int | None, row: Happened) -> str:
    return units.NOTHING if total is None else units.bytes_text(total / max(row.devices, 1))


def _energy(row: Happened) -> str:
    if row.energy_j is None:
        return units.NOTHING
    half = units.shown_interval(row.energy_j)
    return units.joules_text(row.energy_j.mean) + ("" if half is None else f" ± {units.joules_text(half)}")


def _happened(title: str, row: Happened) -> Texts:
    return (
        title,
        f"{row.devices}",
        units.percent_text(row.results / row.tries, 1) if row.tries else units.NOTHING,
        units.seconds_text(row.time_s.median if row.time_s else None),
        units.seconds_text(row.time_s.ninth if row.time_s else None),
        _energy(row),
        _each(row.down_bytes, row),
        _each(row.up_bytes, row),
        _use(row.memory),
        _use(row.macs),
    )


def _causes(whole: Happened, classes: Sequence[Happened]) -> list[Texts]:
    rows: list[Texts] = []
    for cause, count in whole.causes.items():
        most = max(classes, key=lambda row: row.causes.get(cause, 0))
        share = most.causes.get(cause, 0) / count
        rows.append(
            (
                cause_text(cause),
                f"{count}",
                units.percent_text(count / whole.tries, 1),
                f"{_title(most)}, {units.percent_text(share)}",
            )
        )
    return rows


def _tiles(account: Account, whole: Happened) -> list[tuple[str, str, str]]:
    time, energy = whole.time_s, account.energy_j
    half = f"half of those with a report were done in {units.seconds_text(time.median)}" if time else "nobody reported"
    each = f"{units.joules_text(whole.energy_j.mean)} for each that computed" if whole.energy_j else "nobody computed"
    down, up = account.down_bytes or 0, account.up_bytes or 0
    failed = whole.tries - whole.results
    return [
        ("virtual time", units.seconds_text(account.duration_s), f"from the first message to the last answer; {half}"),
        ("energy", units.joules_text(energy), f"of computing, all devices together; {each}"),
        ("sent down", units.bytes_text(down), f"{units.bytes_text(down / max(whole.devices, 1))} a device"),
        ("came back", units.bytes_text(up), f"{units.bytes_text(up / max(whole.devices, 1))} a device"),
        ("without a result", units.percent_text(failed / max(whole.tries, 1), 1), f"{failed} of {whole.tries}"),
    ]


def _lies(account: Account) -> list[Texts]:
    """All devices as the server sees them, and those alone that do not lie."""
    if account.honest is None:
        return []
    both = {"all, as the server sees them": account.summary.fleet, "without those that lie": account.honest.fleet}
    return [
        (name, f"{row.devices}", units.accuracy_text(row.after), *_loss(row)[1:3], *_loss(row)[4:])
        for name, row in both.items()
    ]


def happened_texts(account: Account) -> HappenedTexts | None:
    """The section; None where the run does not say what happened."""
    whole, classes = account.whole, account.classes
    if whole is None:
        return None
    colours: Mapping[str, int] = palette(account.summary, classes)
    rows: list[tuple[int | None, Texts]] = [
        (colours[row.name] % len(CLASS_COLOURS), _happened(_title(row), row)) for row in classes
    ]
    return HappenedTexts(
        _tiles(account, whole),
        [*rows, (None, _happened(WHOLE_FLEET, whole))],
        _causes(whole, classes),
        _lies(account),
        account.liars,
        time_figure(classes, colours),
        causes_figure(classes, whole, colours) if whole.causes else "",
    )
