"""`tinytrain-sim table2` and `tinytrain-sim figure1`: what methods cost, beside what the paper prints."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure as Drawing
from rich.console import Console

from simulations.reporting.sections import Page
from simulations.reporting.svg import to_svg
from simulations.studies import figure1 as figure
from simulations.studies import figure1_figure, figure1_sections, published, table2_figure, table2_sections
from simulations.studies import table2 as table
from simulations.studies.cost_result import Result, Tell, telling
from simulations.studies.data_sets import labelled_files
from simulations.studies.program import typed_command
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.console import Format
from tinytrain_core.devices.profile import DeviceProfile, catalogue, device_profile
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.fewshot.example_tasks import example_task
from tinytrain_core.fewshot.sources import GLYPHS
from tinytrain_core.seeds import Draw

Data = Annotated[str, typer.Option(help="Where tasks come from: a folder, a zip, PATH:SPLIT, glyphs or glyphs:SPLIT.")]
Tasks = Annotated[int, typer.Option(min=1, help="Tasks that TinyTrain chooses for; every other row needs none.")]
Backbones = Annotated[
    list[str] | None,
    typer.Option("--backbone", help="LABEL=FILE of a backbone, or a shipped one by name. Repeatable. (the shipped)"),
]
Devices = Annotated[
    list[str] | None, typer.Option("--device", help=f"One of {', '.join(catalogue())}. Repeatable. (all)")
]
Seed = Annotated[int, typer.Option(min=0, help="Draws the tasks.")]
Out = Annotated[Path, typer.Option(help="Where the table is written as text, CSV, JSON and a page, plots as SVG.")]
Style = Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")]


def _held(backbones: Sequence[str] | None) -> dict[str, Backbone]:
    """Backbones by label; by default those of the paper, in its order."""
    return {label: from_bytes(read_bytes(f)) for label, f in labelled_files(backbones or published.backbones()).items()}


def _tasks(data: str, backbone: Backbone, seed: int, count: int) -> list[Episode]:
    return [example_task(data, backbone.spec.resolution, Draw.EVALUATION, seed, number) for number in range(count)]


def _plots(drawings: Mapping[str, Drawing], label: str) -> list[str]:
    return [to_svg(drawing, name, label) for name, drawing in drawings.items()]


def _table2_result(rows: Sequence[table.Row], facts: Mapping[str, object]) -> Result:
    drawings = table2_figure.drawings(rows)
    page = Page(table2_sections.PAGE_TITLE, table2_sections.LEAD, typed_command())
    sections = [table2_sections.section(rows, _plots(drawings, page.title))]
    return Result("table2", page, sections, table2_sections.records(rows), facts, drawings)


def _figure1_result(rows: Sequence[figure.Row], facts: Mapping[str, object]) -> Result:
    page = Page(figure1_sections.TITLE, figure1_sections.LEAD, typed_command())
    drawings: dict[str, Drawing] = {}
    sections = []
    for device, group in groupby(rows, lambda row: row.device):
        found = list(group)
        drawn = figure1_figure.drawings(found)
        sections.append(figure1_sections.section(device, found, _plots(drawn, f"{page.title}, {device}")))
        drawings |= drawn
    return Result("figure1", page, sections, figure1_sections.records(rows), facts, drawings)


def table2(
    data: Data = GLYPHS,
    tasks: Tasks = 10,
    backbones: Backbones = None,
    seed: Seed = 0,
    out: Out = Path("runs/table2"),
    style: Style = Format.TABLE,
) -> None:
    """Memory and compute of a backward pass for every method and backbone, beside the paper's Table 2.

    Each figure has the paper's and the residual beside it, and a note where they differ. Methods that prescribe their
    layers cost what they cost; TinyTrain's row is what the selection chooses for real tasks under the paper's budget.
    The last columns are bytes that this engine has alive, which the paper's accounting leaves out.

    Example: tinytrain-sim table2 --tasks 20
    """
    found: list[table.Row] = []
    with telling(Console(stderr=True)) as tell:
        for label, backbone in _held(backbones).items():
            tell(f"{label}: {tasks} tasks of {data}")
            found += table.rows(label, backbone, _tasks(data, backbone, seed, tasks), tell)
    _table2_result(found, {"data": data, "tasks": tasks, "seed": seed}).show(out, style)


def figure1(
    devices: Devices = None,
    data: Data = GLYPHS,
    backbones: Backbones = None,
    seed: Seed = 0,
    out: Out = Path("runs/figure1"),
    style: Style = Format.TABLE,
) -> None:
    """Time and energy of a whole personalisation on each device, beside the paper's Figure 1.

    By the model that reproduces the figure on its Raspberry Pi Zero 2 (MACs over a rate, and what does not fit the
    memory over a swap), carried over to every device of the catalogue; and by this engine's own MACs and memory, with
    the plan that each device affords for one task. What does not fit is said, with what it needs.

    Example: tinytrain-sim figure1 --device pi_zero_2w --device stm32h743
    """
    names = devices or (published.latency_model().device, *catalogue())
    profiles = [device_profile(name) for name in dict.fromkeys(names)]
    with telling(Console(stderr=True)) as tell:
        held = [(label, backbone, _tasks(data, backbone, seed, 1)[0]) for label, backbone in _held(backbones).items()]
        found = [row for profile in profiles for row in _rows(profile, held, tell)]
    _figure1_result(found, {"data": data, "seed": seed}).show(out, style)


def _rows(profile: DeviceProfile, held: Sequence[tuple[str, Backbone, Episode]], tell: Tell) -> list[figure.Row]:
    return [row for label, backbone, task in held for row in figure.rows(profile, label, backbone, task, tell)]
