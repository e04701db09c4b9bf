"""How learning rates were chosen, as a table."""

from collections.abc import Sequence

from simulations.reporting.sections import Section
from simulations.studies.data_sets import relation
from simulations.studies.findings import Findings, arm_title
from simulations.studies.line_figures import sweep_figure
from simulations.studies.rates import Sweep
from simulations.studies.text import points

TITLE = "Learning rates: mean accuracy on validation tasks of the other data sets, %"
CHOSEN, AT_END = "*", "†"
NOTES = (
    f"{CHOSEN} is what was chosen, by the mean over the backbones; of rates that did the same, the smaller. In the "
    "plots it has a ring.",
    "Tasks: on how many validation tasks each mean of the line is.",
)
END_NOTE = f"{AT_END} is at the end of the grid: the best may lie beyond."


def _rate_texts(found: Sweep, rates: Sequence[float]) -> list[str]:
    """The accuracy at each rate, the chosen one with its marks."""
    mark = CHOSEN + (AT_END if found.at_end else "")
    return [points(found.accuracies.get(rate)) + (mark if rate == found.chosen else "") for rate in rates]


def _tasks_text(found: Sweep) -> str:
    """The number of tasks, or the least and the most of them."""
    return "–".join(map(str, sorted({min(found.tasks.values()), max(found.tasks.values())})))


def _relations(findings: Findings) -> list[str]:
    """Where rates were chosen on another part of what is tested on."""
    settings = findings.settings
    pairs = [(data, label) for data in settings.data for label in settings.validation_labels(data)]
    told = {(data, label): relation(settings.data[data], settings.validation[label]) for data, label in pairs}
    return [f"For {data}, the validation set {label} has {what}." for (data, label), what in told.items() if what]


def _notes(findings: Findings) -> list[str]:
    ends = [END_NOTE] if any(found.at_end for found in findings.sweeps) else []
    return [*NOTES, *ends, *_relations(findings)]


def rate_section(findings: Findings, draws: bool) -> Section:
    """The sweep of every arm that had a choice."""
    rates, backbones = findings.settings.rates, dict.fromkeys(found.backbone for found in findings.sweeps)
    rows = [
        (s.where, arm_title(s.arm, findings.settings), _tasks_text(s), *_rate_texts(s, rates)) for s in findings.sweeps
    ]
    return Section(
        TITLE,
        ("backbone, data", "arm", "tasks", *(f"{rate:g}" for rate in rates)),
        rows,
        notes=_notes(findings),
        plots=[sweep_figure(findings, backbone) for backbone in backbones] if draws else (),
    )
