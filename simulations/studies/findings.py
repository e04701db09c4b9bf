"""What a study has found so far, and as text: plain, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from simulations.studies.arms import Arm
from simulations.studies.cell import Cell
from simulations.studies.cells import comparison_cells
from simulations.studies.comparisons import Comparison
from simulations.studies.rates import Sweep, sweep
from simulations.studies.study_settings import StudySettings
from simulations.studies.trials import Trials


@dataclass(frozen=True)
class Findings:
    """The figures of a study.

    Attributes:
        sweeps: how the learning rate of each arm was chosen, where there was a choice.
        against: the cells once more, for every other reference that a comparison has.
    """

    settings: StudySettings
    comparisons: Sequence[Comparison]
    cells: Sequence[Cell]
    sweeps: Sequence[Sweep]
    against: Sequence[Cell] = ()

    def of(self, comparison: Comparison) -> list[Cell]:
        """The cells of a comparison."""
        return [cell for cell in self.cells if cell.comparison == comparison.name]


def find(settings: StudySettings, trials: Trials) -> Findings:
    """The figures that follow from the trials so far; pure."""
    comparisons = settings.comparisons()
    others = [replace(comparison, reference=other) for comparison in comparisons for other in comparison.others]

    def cells(of: Sequence[Comparison]) -> list[Cell]:
        return [cell for comparison in of for cell in comparison_cells(settings, trials, comparison)]

    sweeps = [
        sweep(settings, trials, data, backbone, arm)
        for backbone in settings.backbones
        for data in settings.data
        for label, arm in settings.cells()
        if label == backbone
    ]
    return Findings(settings, comparisons, cells(comparisons), [s for s in sweeps if s.accuracies], cells(others))


def arm_title(arm: Arm, settings: StudySettings) -> str:
    """The arm's name, and its training where the study has two of them."""
    return f"{arm.name}, {arm.training}" if settings.plain else arm.name


def as_csv(cells: Iterable[Cell]) -> str:
    """One line for each cell; what is unknown is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(Cell)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(cell) for cell in cells)
    return buffer.getvalue()


def _sweep_fields(found: Sweep) -> dict[str, Any]:
    return {
        "data": found.data,
        "backbone": found.backbone,
        "training": found.arm.training,
        "arm": found.arm.name,
        "chosen": found.chosen,
        "at_end": found.at_end,
        "validation": found.sets,
        "tasks": {f"{rate:g}": count for rate, count in found.tasks.items()},
        "accuracies": {f"{rate:g}": accuracy for rate, accuracy in found.accuracies.items()},
    }


def as_json(findings: Findings, extra: dict[str, Any]) -> str:
    """The same for programs, with `extra` keys beside it."""
    comparisons = [{"name": c.name, "title": c.title, "reference": c.reference} for c in findings.comparisons]
    found = {
        "settings": findings.settings.model_dump(mode="json"),
        "comparisons": comparisons,
        "cells": [asdict(cell) for cell in findings.cells],
        "against": [asdict(cell) for cell in findings.against],
        "sweeps": [_sweep_fields(found) for found in findings.sweeps],
    }
    return json.dumps(found | extra, indent=2)
