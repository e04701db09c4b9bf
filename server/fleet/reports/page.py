"""Figures of a fleet as one page of HTML with plots, which needs nothing else to be looked at.

The page shows the groups that were asked for and no other: two groupings of the same devices on one page would let a
reader subtract one from the other. Grouped by day, its plots are over time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from server.fleet.reports.figures import NOISY, Figures, FleetFigures
from server.fleet.reports.plots import plots
from server.fleet.reports.style import STYLE
from server.fleet.reports.table import (
    TOTAL,
    counts_text,
    fewer_than,
    gain_text,
    key_text,
    notes,
    plain_share,
    quantiles_text,
    share_text,
)

_COLUMNS = (
    "devices",
    "reports",
    "failed",
    "worse",
    "before, %",
    "after, %",
    "gain, points",
    "gain with noise",
    "seconds",
    "memory, %",
    "measured, %",
)


@dataclass(frozen=True)
class PageFacts:
    """What a page says besides its figures."""

    title: str
    made: str
    filters: str
    command: str


def _figure(title: str, caption: str, drawn: str) -> str:
    if not drawn:
        return ""
    return f'<figure class="card"><h2>{escape(title)}</h2><figcaption>{escape(caption)}</figcaption>{drawn}</figure>'


def _cells(shown: Figures) -> list[str]:
    of = shown.quantities
    return [
        f"{shown.devices}",
        f"{shown.reports}",
        f"{shown.failed_share:.0%}",
        plain_share(of["worse"]),
        share_text(of["accuracy_before"]),
        share_text(of["accuracy_after"]),
        gain_text(of["gain"]),
        gain_text(of[f"{NOISY}gain"]),
        quantiles_text(of["wall_s"]),
        quantiles_text(of["memory_budget_share"], 100, 0),
        quantiles_text(of["measured_memory_share"], 100),
    ]


def _row(name: str, cells: Sequence[str], kind: str = "") -> str:
    return f'<tr class="{kind}"><td>{escape(name)}</td>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


def _table(figures: FleetFigures) -> str:
    few = [fewer_than(figures.minimum_cohort), *[""] * (len(_COLUMNS) - 1)]
    rows = [
        _row(key_text(figures, group.key), few, "few")
        if group.figures is None
        else _row(key_text(figures, group.key), _cells(group.figures))
        for group in figures.groups
    ]
    if figures.total is not None:
        rows.append(_row(TOTAL, _cells(figures.total), "fleet"))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("", *_COLUMNS))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _errors(figures: FleetFigures) -> str:
    failed = [(key_text(figures, key), shown.errors) for key, shown in figures.shown if shown.errors]
    if not failed:
        return '<p class="small">No device of a group that is shown has failed.</p>'
    return "<dl>" + "".join(f"<dt>{escape(n)}</dt><dd>{escape(counts_text(e))}</dd>" for n, e in failed) + "</dl>"


def report_page(figures: FleetFigures, facts: PageFacts) -> str:
    """The page.

    Args:
        figures: where no group is large enough to be shown, the page has a table only.
    """
    drawn = "".join(_figure(*plot) for plot in plots(figures))
    table = _table(figures) + f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes(figures))}</ul>'
    body = f"""<header><h1>{escape(facts.title)}</h1>
<p class="lead">{escape(facts.filters)} Made {escape(facts.made)}.</p></header>
<div class="plots">{drawn}</div>
<section class="card"><h2>All figures</h2>{table}</section>
<section class="card"><h2>Why devices failed</h2>{_errors(figures)}</section>
<section class="card"><h2>Make it again</h2><pre>{escape(facts.command)}</pre></section>"""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(facts.title)}</title>{STYLE}</head>'
        f"<body><main>{body}</main></body></html>\n"
    )
