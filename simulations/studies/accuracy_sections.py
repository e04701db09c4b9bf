"""What a study has found as the tables of a terminal and of a page."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from simulations.reporting.sections import Section
from simulations.reporting.units import NOTHING, percent_text
from simulations.studies.cell import ALL_BACKBONES, Cell
from simulations.studies.comparisons import Comparison
from simulations.studies.cost_section import cost_section
from simulations.studies.dot_figures import accuracies_figure, differences_figure
from simulations.studies.findings import Findings
from simulations.studies.line_figures import memory_figure
from simulations.studies.paper_sections import paper_sections
from simulations.studies.rate_section import rate_section
from simulations.studies.study_folder import StudyRecord
from simulations.studies.text import p_text, points

COLUMNS = (
    "tasks",
    "accuracy, %",
    "gain, points",
    "to reference",
    "p",
    "worst tenth, %",
    "got worse",
    "learning rate",
)
PAPER_COLUMN = "paper, % (ours less it)"
NOTES = (
    "± is the 95 % interval of the mean over tasks (Student's t). Data sets weigh the same in the average, whose "
    "intervals and p are by the standard error of independent sets (Welch and Satterthwaite).",
    "Gain, to the backbone as it was, and the difference to the reference are paired; p is the paired t test's.",
    "Worst tenth: mean accuracy of the worst tenth of the tasks.",
    "Got worse: tasks less accurate than the backbone as it was.",
)
ALL_BACKBONES_NOTE = (
    "All backbones: each task's mean over the backbones, which see the same tasks, is one value of its data set."
)
PAPER_NOTE = (
    "Paper: what its Table 1 prints, and in points what ours is above that. Its baselines are without meta-training, "
    "TinyTrain is with it, on 200 tasks of various ways and shots; beside like for like it is for orientation only."
)
CAPTION = "Dots are means, lines 95 % intervals; a difference is hollow where its interval includes 0."
NO_TASK = "No task has been ended by every arm yet."


def _difference_text(cell: Cell) -> str:
    return points(cell.difference, cell.difference_interval, "+")


def _texts(cell: Cell) -> tuple[str, ...]:
    return (
        str(cell.tasks),
        points(cell.accuracy, cell.accuracy_interval),
        points(cell.gain, cell.gain_interval, "+"),
        _difference_text(cell),
        p_text(cell.difference_p),
        points(cell.worst_decile),
        percent_text(cell.worse_share),
        f"{cell.learning_rate:g}" if cell.learning_rate else NOTHING,
    )


def _paper_text(cell: Cell) -> str:
    return NOTHING if cell.paper is None else f"{points(cell.paper)} ({points(cell.residual, sign='+')})"


def _notes(comparison: Comparison, cells: Sequence[Cell]) -> list[str]:
    if not cells:
        return [NO_TASK]
    overall, printed = any(c.backbone == ALL_BACKBONES for c in cells), any(c.paper is not None for c in cells)
    told = (comparison.note, *NOTES, ALL_BACKBONES_NOTE if overall else "", PAPER_NOTE if printed else "")
    return list(filter(None, told))


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
    printed = any(cell.paper is not None for cell in cells)
    return Section(
        comparison.title,
        ("backbone, data", "arm", *COLUMNS, *((PAPER_COLUMN,) if printed else ())),
        [(c.where, c.name, *_texts(c), *((_paper_text(c),) if printed else ())) for c in cells],
        notes=_notes(comparison, cells),
        caption=CAPTION,
        plots=_arms_plots(comparison, cells) if draws else (),
    )


def _against_section(findings: Findings, comparison: Comparison, other: str, draws: bool) -> Section:
    """The paired differences to another reference."""
    cells = [c for c in findings.against if (c.comparison, c.reference) == (comparison.name, other)]
    held, blocks = replace(comparison, reference=other), _by_backbone(cells).items()
    return Section(
        f"{comparison.title}: against {other}",
        ("backbone, data", "arm", "tasks", "difference, points", "p"),
        [(c.where, c.name, str(c.tasks), _difference_text(c), p_text(c.difference_p)) for c in cells],
        caption=CAPTION,
        plots=[differences_figure(held, backbone, found) for backbone, found in blocks] if draws else (),
    )


def _memory_section(findings: Findings, family: str, draws: bool) -> Section:
    """The comparisons of a family side by side."""
    members = [comparison for comparison in findings.comparisons if comparison.family == family]
    cells = [cell for member in members for cell in findings.of(member)]
    texts = {(c.where, c.name, c.comparison): points(c.accuracy, c.accuracy_interval) for c in cells}
    arms = dict.fromkeys((cell.where, cell.name) for cell in cells)
    plots = [memory_figure(family, backbone, found) for backbone, found in _by_backbone(cells).items()] if draws else ()
    return Section(
        f"Accuracy by memory, %: {family}",
        ("backbone, data", "arm", *(member.name.removeprefix(family).strip() for member in members)),
        [(*arm, *(texts.get((*arm, member.name), NOTHING) for member in members)) for arm in arms],
        caption="Memory is the forward peak and 16 B for each updated weight.",
        plots=plots,
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
    rows.append(("sha256 of the code", record.sources[:16]))
    if record.earlier_sources:
        rows.append(("other code that trials were made with", _fact([s[:16] for s in record.earlier_sources])))
    return Section("Settings", ("setting", "value"), rows)


def sections(findings: Findings, draws: bool) -> list[Section]:
    """Every table, with plots where they are to be drawn."""
    families = dict.fromkeys(comparison.family for comparison in findings.comparisons if comparison.family)
    made = [_memory_section(findings, family, draws) for family in families]
    for comparison in findings.comparisons:
        made.append(_accuracy_section(findings, comparison, draws))
        made += [_against_section(findings, comparison, other, draws) for other in comparison.others]
    made += [cost_section(c, findings.of(c)) for c in findings.comparisons if findings.of(c)]
    made += [rate_section(findings, draws)] if findings.sweeps else []
    return _legends_once(made + paper_sections(findings))


def _legends_once(made: list[Section]) -> list[Section]:
    """The same tables, what several of them say below only below the first."""
    told, once = {""}, []
    for section in made:
        once.append(replace(section, notes=[note for note in section.notes if note not in told]))
        told |= set(section.notes) - {NO_TASK}
    return once
