"""What a study has found as the tables of a terminal and of a page."""

from collections.abc import Sequence
from typing import Any

from simulations.reporting.sections import Section
from simulations.reporting.units import NOTHING, count_text, percent_text, seconds_text
from simulations.studies.cell import Cell
from simulations.studies.comparisons import Comparison
from simulations.studies.dot_figures import accuracies_figure, differences_figure
from simulations.studies.findings import Findings, arm_title
from simulations.studies.line_figures import memory_figure, sweep_figure
from simulations.studies.rates import Sweep
from simulations.studies.study_folder import StudyRecord
from simulations.studies.text import p_text, points

ACCURACY_COLUMNS = (
    "tasks",
    "accuracy, %",
    "gain, points",
    "to reference",
    "p",
    "worst tenth, %",
    "got worse",
    "learning rate",
)
COST_COLUMNS = ("weights", "MiB, paper's", "backward MMACs", "all GMACs", "time, measured", "remarks")
ACCURACY_NOTES = (
    "± is the 95 % interval of the mean over tasks (Student's t). Data sets weigh the same in the average.",
    "Gain, to the backbone as it was, and the difference to the reference are paired; p is the paired t test's.",
    "Worst tenth: mean accuracy of the worst tenth of the tasks.",
    "Got worse: tasks less accurate than the backbone as it was.",
)
COST_NOTES = (
    "Medians over the tasks. MiB: 16 B for each updated weight and the forward peak, of one image for every method.",
    "Backward MACs are of one step and image; all MACs are those of selecting and training.",
    "Time is measured, with whatever else ran on the machine.",
)
CAPTION = "Dots are means, lines 95 % intervals; a difference is hollow where its interval includes 0."
NO_TASK = "No task has been ended by every arm yet."


def _where(cell: Cell | Sweep) -> str:
    return f"{cell.backbone}, {cell.data}"


def _remarks(cell: Cell) -> str:
    counts = {"diverged": cell.diverged, "afford nothing": cell.unaffordable, "without a task": cell.without_task}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or NOTHING


def _accuracy_texts(cell: Cell) -> tuple[str, ...]:
    return (
        str(cell.tasks),
        points(cell.accuracy, cell.accuracy_interval),
        points(cell.gain, cell.gain_interval, "+"),
        points(cell.difference, cell.difference_interval, "+"),
        p_text(cell.difference_p),
        points(cell.worst_decile),
        percent_text(cell.worse_share),
        f"{cell.learning_rate:g}" if cell.learning_rate else NOTHING,
    )


def _cost_texts(cell: Cell) -> tuple[str, ...]:
    return (
        count_text(cell.updated_weights) if cell.updated_weights else NOTHING,
        f"{cell.paper_memory_mib:.2f}" if cell.paper_memory_mib else NOTHING,
        f"{cell.backward_mmacs:.2f}" if cell.backward_mmacs else NOTHING,
        f"{cell.total_mmacs / 1000:.2f}" if cell.total_mmacs else NOTHING,
        seconds_text(cell.seconds),
        _remarks(cell),
    )


def _by_backbone(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    backbones = dict.fromkeys(cell.backbone for cell in cells)
    return {backbone: [cell for cell in cells if cell.backbone == backbone] for backbone in backbones}


def _arms_plots(comparison: Comparison, cells: Sequence[Cell]) -> list[str]:
    """Accuracies and, where there is a reference, differences to it, backbone by backbone."""
    figures = (
        [accuracies_figure, differences_figure] if comparison.reference in comparison.arms else [accuracies_figure]
    )
    return [draw(comparison, backbone, found) for backbone, found in _by_backbone(cells).items() for draw in figures]


def _accuracy_section(findings: Findings, comparison: Comparison, draws: bool) -> Section:
    cells = findings.of(comparison)
    return Section(
        comparison.title,
        ("backbone, data", "arm", *ACCURACY_COLUMNS),
        [(_where(cell), cell.name, *_accuracy_texts(cell)) for cell in cells],
        notes=ACCURACY_NOTES if cells else (NO_TASK,),
        caption=CAPTION,
        plots=_arms_plots(comparison, cells) if draws else (),
    )


def _cost_section(findings: Findings, comparison: Comparison) -> Section:
    rows = [(_where(cell), cell.name, *_cost_texts(cell)) for cell in findings.of(comparison)]
    return Section(f"{comparison.title}: cost", ("backbone, data", "arm", *COST_COLUMNS), rows, notes=COST_NOTES)


def _memory_section(findings: Findings, family: str, draws: bool) -> Section:
    """The comparisons of a family side by side."""
    members = [comparison for comparison in findings.comparisons if comparison.family == family]
    cells = [cell for member in members for cell in findings.of(member)]
    texts = {(_where(c), c.name, c.comparison): points(c.accuracy, c.accuracy_interval) for c in cells}
    arms = dict.fromkeys((_where(cell), cell.name) for cell in cells)
    plots = [memory_figure(family, backbone, found) for backbone, found in _by_backbone(cells).items()] if draws else ()
    return Section(
        f"Accuracy by memory, %: {family}",
        ("backbone, data", "arm", *(member.name.removeprefix(family).strip() for member in members)),
        [(*arm, *(texts.get((*arm, member.name), NOTHING) for member in members)) for arm in arms],
        caption="Memory is the forward peak and 16 B for each updated weight.",
        plots=plots,
    )


def _rate_texts(found: Sweep, rates: Sequence[float]) -> list[str]:
    """The accuracy at each rate, the chosen one with a star."""
    return [points(found.accuracies.get(rate)) + ("*" if rate == found.chosen else "") for rate in rates]


def _sweep_section(findings: Findings, draws: bool) -> Section:
    rates, backbones = findings.settings.rates, dict.fromkeys(found.backbone for found in findings.sweeps)
    return Section(
        "Learning rates: mean accuracy on validation tasks of the other data sets, %",
        ("backbone, data", "arm", *(f"{rate:g}" for rate in rates)),
        [(_where(s), arm_title(s.arm, findings.settings), *_rate_texts(s, rates)) for s in findings.sweeps],
        notes=("* is what was chosen; of rates that did the same, the smaller. In the plots it has a ring.",),
        plots=[sweep_figure(findings, backbone) for backbone in backbones] if draws else (),
    )


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or NOTHING
    return (", ".join(map(str, value)) if isinstance(value, list) else str(value)) or NOTHING


def facts_section(record: StudyRecord) -> Section:
    """What makes the study again, beside its command."""
    settings = [(name.replace("_", " "), _fact(value)) for name, value in record.settings.items()]
    digests = {name: value[:16] for name, value in record.inputs.items() if name.startswith(("meta/", "plain/"))}
    rows = [*settings, ("sha256 of the backbones", _fact(digests)), ("versions", _fact(record.versions))]
    return Section("Settings", ("setting", "value"), rows)


def sections(findings: Findings, draws: bool) -> list[Section]:
    """Every table, with plots where they are to be drawn."""
    families = dict.fromkeys(comparison.family for comparison in findings.comparisons if comparison.family)
    made = [_memory_section(findings, family, draws) for family in families]
    made += [_accuracy_section(findings, comparison, draws) for comparison in findings.comparisons]
    made += [_cost_section(findings, comparison) for comparison in findings.comparisons if findings.of(comparison)]
    return [*made, _sweep_section(findings, draws)] if findings.sweeps else made
