"""What the arms of a comparison cost, as a table."""

from collections.abc import Sequence

from simulations.reporting.sections import Section
from simulations.reporting.units import NOTHING, count_text, seconds_text
from simulations.studies.cell import Cell
from simulations.studies.comparisons import Comparison

COLUMNS = ("weights", "MiB, paper's", "MiB, live", "backward MMACs", "all GMACs", "time, measured", "remarks")
NOTES = (
    "Medians over the tasks. MiB, paper's: 16 B for each updated weight and the forward peak, of one image for every "
    "method. MiB, live: what this engine has alive at once, as it trains the arm without a device's limit.",
    "Backward MACs are of one step and image; all MACs are those of selecting and training.",
    "Time is measured, with whatever else ran on the machine.",
    "Identical layers: the tasks with the most common choice of layers, however many of their channels.",
)


def _remarks(cell: Cell) -> str:
    counts = {"diverged": cell.diverged, "afford nothing": cell.unaffordable, "without a task": cell.without_task}
    told = [f"{count} {what}" for what, count in counts.items() if count]
    if cell.same_layers is not None:
        told.append(f"identical layers in {cell.same_layers} of {cell.tasks} tasks")
    return ", ".join(told) or NOTHING


def _texts(cell: Cell) -> tuple[str, ...]:
    return (
        count_text(cell.updated_weights) if cell.updated_weights else NOTHING,
        f"{cell.paper_memory_mib:.2f}" if cell.paper_memory_mib else NOTHING,
        f"{cell.live_memory_mib:.2f}" if cell.live_memory_mib else NOTHING,
        f"{cell.backward_mmacs:.2f}" if cell.backward_mmacs else NOTHING,
        f"{cell.total_mmacs / 1000:.2f}" if cell.total_mmacs else NOTHING,
        seconds_text(cell.seconds),
        _remarks(cell),
    )


def cost_section(comparison: Comparison, cells: Sequence[Cell]) -> Section:
    """The costs of the arms, one line for each of its cells."""
    rows = [(cell.where, cell.name, *_texts(cell)) for cell in cells]
    return Section(f"{comparison.title}: cost", ("backbone, data", "arm", *COLUMNS), rows, notes=NOTES)
