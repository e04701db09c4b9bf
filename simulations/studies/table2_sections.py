"""Table 2 as text, and as flat records for CSV and JSON."""

from collections.abc import Sequence
from typing import Any

from simulations.reporting.sections import Section
from simulations.reporting.units import NOTHING, change_text, figure_text
from simulations.studies import published
from simulations.studies.table2 import FORWARD, Figure, Row, Span
from simulations.studies.table2_notes import COMPUTE, MEMORY, Notes

TITLE = "Table 2: memory and compute of a backward pass"
PAGE_TITLE = "What a backward pass costs, beside the paper"
LEAD = (
    "Every method by the accounting that reproduces the paper's figures, beside those figures, and in bytes that this "
    "engine has alive."
)
FORWARD_TITLE = "forward pass"
COLUMNS = (
    "backbone",
    "method",
    "MiB,\nours",
    "MiB,\npaper",
    "MiB,\nresidual",
    "MMACs,\nours",
    "MMACs,\npaper",
    "MMACs,\nresidual",
    "MMACs,\nstrictly",
    "weights\nupdated",
    "MiB,\nsaved",
    "live MiB,\none",
    "live MiB,\nall",
)


def span_text(span: Span) -> str:
    """The mean, and the least and the most where they differ."""
    mean, low, high = map(figure_text, (span.mean, span.low, span.high))
    return mean if low == high else f"{mean}\n{low} to {high}"


def residual_text(figure: Figure) -> str:
    """Per cent of the paper's; `exact` where all of its digits are the same."""
    if figure.residual is None:
        return NOTHING
    return "exact" if figure.exact else change_text(figure.residual)


def title(method: str) -> str:
    """What a row is called."""
    return FORWARD_TITLE if method == FORWARD else published.title(method)


def _figure_texts(figure: Figure, letter: str | None) -> tuple[str, str, str]:
    noted = f" ({letter})" if letter and figure.paper is not None and not figure.exact else ""
    return span_text(figure.ours), NOTHING if figure.paper is None else str(figure.paper), residual_text(figure) + noted


def _texts(row: Row, notes: Notes) -> tuple[str, ...]:
    memory = _figure_texts(row.memory_mib, notes.letters.get((row.method, MEMORY)))
    compute = _figure_texts(row.backward_mmacs, notes.letters.get((row.method, COMPUTE)))
    live = figure_text(row.one_alive_mib.mean), figure_text(row.all_alive_mib.mean)
    if row.method == FORWARD:
        return row.backbone, title(row.method), *memory, *compute, NOTHING, NOTHING, NOTHING, *live
    updated = figure_text(row.strict_mmacs.mean), f"{row.weights.mean:,.0f}", figure_text(row.saving_mib.mean)
    return row.backbone, title(row.method), *memory, *compute, *updated, *live


def section(rows: Sequence[Row], plots: Sequence[str] = ()) -> Section:
    """The table."""
    notes = Notes.on(rows)
    return Section(TITLE, COLUMNS, [_texts(row, notes) for row in rows], notes=notes.lines, plots=plots)


def _span_fields(name: str, span: Span) -> dict[str, float]:
    return {name: span.mean, f"{name}_low": span.low, f"{name}_high": span.high}


def _figure_fields(name: str, figure: Figure) -> dict[str, Any]:
    paper = None if figure.paper is None else float(figure.paper)
    printed = {f"paper_{name}": paper, f"{name}_residual": figure.residual, f"{name}_exact": figure.exact}
    return _span_fields(name, figure.ours) | printed


def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One flat record for each row; what the paper does not have is None."""
    return [
        {"backbone": row.backbone, "architecture": row.architecture, "method": row.method, "batch": row.batch}
        | _figure_fields("memory_mib", row.memory_mib)
        | _figure_fields("backward_mmacs", row.backward_mmacs)
        | _span_fields("strict_mmacs", row.strict_mmacs)
        | _span_fields("weights", row.weights)
        | _span_fields("saving_mib", row.saving_mib)
        | _span_fields("one_alive_mib", row.one_alive_mib)
        | _span_fields("all_alive_mib", row.all_alive_mib)
        for row in rows
    ]
