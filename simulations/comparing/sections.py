"""A comparison as the tables and plots of a terminal and a page."""

from collections.abc import Sequence

from simulations.comparing.compared import Compared
from simulations.comparing.differences import QUANTITIES, Difference
from simulations.comparing.figures import dots_figure, gains_figure
from simulations.comparing.notes import COST_NOTE, accuracy_notes, difference_notes
from simulations.comparing.settings import differing_settings, value_text
from simulations.reporting import units
from simulations.reporting.account import Account
from simulations.reporting.sections import Page, Section
from simulations.reporting.summary import UNKNOWN_PROFILE, WHOLE_FLEET, ClassRow, class_title
from simulations.results.happened import Happened
from simulations.studies.text import p_text
from tinytrain_core.devices.profile import catalogue

ACCURACY_COLUMNS = (
    "reports",
    "gain, points",
    "accuracy\nbefore, %",
    "accuracy\nafter, %",
    "worst tenth",
    "harmed",
    "harmed, 95 %",
)
COST_COLUMNS = (
    "devices",
    "without\na result",
    "time,\nmedian",
    "time,\n90 %",
    "energy,\nmean",
    "energy,\nall",
    "down",
    "up",
)
DIFFERENCE_COLUMNS = ("quantity", "devices", "difference,\npoints", "p", "p, ranks", "p, Holm")
SHOWN_SETTINGS = 20  # of a terminal
CAPTION = "Dots are means, lines 95 % intervals; below, the share of the devices that gain at most so much."


def _time(row: Happened | None, ninth: bool) -> str:
    time = row.time_s if row else None
    return units.seconds_text((time.ninth if ninth else time.median) if time else None)


def _cost_texts(row: Happened | None) -> tuple[str, ...]:
    """What the journeys say; nothing for runs without any."""
    if row is None:
        return (units.NOTHING,) * len(COST_COLUMNS)
    failed = row.tries - row.results
    return (
        str(row.devices),
        f"{failed} ({units.percent_text(failed / row.tries if row.tries else None, 1)})",
        _time(row, False),
        _time(row, True),
        units.joules_text(row.energy_j.mean if row.energy_j else None),
        units.joules_text(row.total_j),
        units.NOTHING if row.down_bytes is None else units.bytes_text(row.down_bytes),
        units.NOTHING if row.up_bytes is None else units.bytes_text(row.up_bytes),
    )


def _accuracy_texts(row: ClassRow | None) -> tuple[str, ...]:
    if row is None:
        return ("0", *(units.NOTHING,) * (len(ACCURACY_COLUMNS) - 1))
    return (
        str(row.devices),
        units.gain_text(row.gain),
        units.accuracy_text(row.before),
        units.accuracy_text(row.after),
        units.points_text(row.worst_decile),
        units.percent_text(row.worse_share, 1),
        units.interval_text(row.worse_interval),
    )


Pairs = tuple[ClassRow | None, Happened | None]


def _classes(account: Account) -> dict[int, Pairs]:
    """Both kinds of figures of each class, by its number; a class may be in one of them alone."""
    reported = {row.profile: row for row in account.summary.rows}
    there = {catalogue()[row.name].number if row.name else UNKNOWN_PROFILE: row for row in account.classes}
    known = sorted(reported.keys() | there.keys())
    return {number: (reported.get(number), there.get(number)) for number in known}


def _rows(compared: Sequence[Compared]) -> list[tuple[str, str, Pairs]]:
    """Class and run of each row, with its figures: the whole fleet first."""
    by_run = {one.name: _classes(one.account) for one in compared}
    numbers = sorted({number for classes in by_run.values() for number in classes})
    rows = [(WHOLE_FLEET, one.name, (one.account.summary.fleet, one.account.whole)) for one in compared]
    nothing: Pairs = (None, None)
    return rows + [(class_title(n), one.name, by_run[one.name].get(n, nothing)) for n in numbers for one in compared]


def _accuracy_section(compared: Sequence[Compared]) -> Section:
    rows = [(title, run, *_accuracy_texts(row)) for title, run, (row, _) in _rows(compared)]
    plots = (dots_figure(compared, "gain"), dots_figure(compared, "accuracy after"), gains_figure(compared))
    columns = ("device class", "run", *ACCURACY_COLUMNS)
    return Section("Accuracy", columns, rows, 2, accuracy_notes(compared), CAPTION, plots)


def _cost_section(compared: Sequence[Compared]) -> Section:
    rows = [(title, run, *_cost_texts(happened)) for title, run, (_, happened) in _rows(compared)]
    return Section("What it took", ("device class", "run", *COST_COLUMNS), rows, 2, (COST_NOTE,))


def _difference_row(difference: Difference) -> tuple[str, ...]:
    found = difference.found
    p_values = (found.p_value, difference.rank_p, difference.holm_p)
    return (
        difference.title,
        difference.run,
        difference.quantity,
        str(found.count),
        units.points_text(found.mean) + units.half_text(found),
        *map(p_text, p_values),
    )


def _difference_section(compared: Sequence[Compared], found: Sequence[Difference]) -> Section:
    title = f"Against {compared[0].name}"
    caption = f"Each run less {compared[0].name}, in points of accuracy: above 0 is better than {compared[0].name}."
    ordered = sorted(found, key=lambda d: (d.profile is not None, d.profile or 0, list(QUANTITIES).index(d.quantity)))
    rows = [_difference_row(difference) for difference in ordered]
    return Section(title, ("device class", "run", *DIFFERENCE_COLUMNS), rows, 3, difference_notes(compared), caption)


def _settings_section(compared: Sequence[Compared]) -> Section:
    rows = [(key, *map(value_text, values)) for key, values in differing_settings(compared).items()]
    names = [one.name for one in compared]
    note = () if rows else ("All settings are the same.",)
    columns = ("setting", *names)
    return Section("Settings that differ", columns, rows, 1, note, words=True, shown=SHOWN_SETTINGS)


def comparison_sections(compared: Sequence[Compared], found: Sequence[Difference]) -> list[Section]:
    """Accuracies and costs side by side, the differences to the first run, and the settings that differ."""
    return [
        _accuracy_section(compared),
        _difference_section(compared, found),
        _cost_section(compared),
        _settings_section(compared),
    ]


def comparison_page(compared: Sequence[Compared], command: str) -> Page:
    """What the page of a comparison has around its sections."""
    names = [one.name for one in compared]
    title = f"{', '.join(names[:-1])} and {names[-1]}, side by side"
    methods = ", ".join(f"{one.name} ({one.method})" for one in compared)
    lead = (
        f"{len(compared)} simulated fleets, each with its method: {methods}. The accuracy after is that of the adapted "
        "backbone on each device's own holdout, whether the device then keeps it or not; the gain is that less the "
        "accuracy of its base."
    )
    return Page(title, lead, command)
