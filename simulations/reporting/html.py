"""One self-contained HTML file about one run: no script, no network, light and dark, readable on a phone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simulations.reporting import units
from simulations.reporting.account import Account
from simulations.reporting.bands import NARROW
from simulations.reporting.crowds import MANY
from simulations.reporting.figures import accuracy_figure, layers_figure
from simulations.reporting.happened_section import (
    CAUSES_HEAD,
    HAPPENED_HEAD,
    LIES_HEAD,
    LOSS_HEAD,
    Texts,
    happened_texts,
    losses,
)
from simulations.reporting.lead import AVERAGED_BASE, BASE
from simulations.reporting.memory_figure import memory_figure
from simulations.reporting.summary import ClassRow, Summary, evaluated, latest, summarise, trained
from simulations.reporting.svg import CLASS_COLOURS
from simulations.reporting.table import cells
from simulations.reporting.templates import template
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.report import PersonalisationReport

TEMPLATE = "report.html"
TASK_SIZES = {"ways": "classes", "support_images": "images to learn from", "holdout_images": "to measure on"}
OUTCOMES = {  # with what devices start from
    "adapted": "adapted; the delta is in use",
    "kept_base": "adapted, but worse on the own holdout; the {} stays in use",
    "cannot_afford": "no update fits the budget; the {} stays in use",
    "not_adapted": "the method does not adapt",
    "failed": "no result; see the causes below",
    "withheld": "done; the device keeps to itself what became of it",
}


@dataclass(frozen=True)
class RunFacts:
    """What a page says beside the figures; all of it text for people.

    Attributes:
        title: of the page. lead: what the devices did. left: what left them. command: that made the run.
        settings, provenance: rows of the two tables at its end.
        missing: cause -> nodes that were asked in the last round and gave no reply.
        before: of what the accuracy before is, where devices do not start from the fleet's backbone; else empty.
    """

    title: str
    lead: str
    left: str
    command: str
    settings: dict[str, Any]
    provenance: dict[str, Any]
    missing: dict[str, int]
    before: str = ""

    @property
    def base(self) -> str:
        """What devices start from."""
        return AVERAGED_BASE if self.before else BASE


@dataclass(frozen=True)
class Tile:
    """One headline figure."""

    label: str
    value: str
    note: str
    tone: str = ""


def verdict(row: ClassRow) -> tuple[str, str]:
    """What the paired difference says in one sentence, and its tone."""
    if row.gain is None:
        return "No device gave a result.", "bad"
    if units.shown_interval(row.gain) is None:
        return f"{units.counted(row.gain.count, 'device')}: too few for an interval.", ""
    if not row.gain.excludes_zero:
        return "The interval includes 0: this run shows no difference.", ""
    if row.gain.mean > 0:
        return "The interval excludes 0: the fleet gained.", "good"
    return "The interval excludes 0: the fleet lost.", "bad"


def _headline(fleet: ClassRow, before: str) -> Tile:
    """What adapting gained; where devices start from averaged weights the accuracy that they end with."""
    if before:
        note = f"%. Before: {units.accuracy_text(fleet.before)} %, {before}: {units.gain_text(fleet.gain)} points."
        return Tile("accuracy after", units.accuracy_text(fleet.after), note)
    sentence, tone = verdict(fleet)
    before_after = f"{units.accuracy_text(fleet.before)} % before, {units.accuracy_text(fleet.after)} % after"
    return Tile("accuracy gained", units.gain_text(fleet.gain), f"points. {before_after}. {sentence}", tone)


def _tiles(account: Account, reports: Sequence[PersonalisationReport], facts: RunFacts) -> list[Tile]:
    summary, fleet = account.summary, account.summary.fleet
    done = fleet.devices - fleet.failed
    asked = max(account.devices, fleet.devices)
    classes = f"of {units.counted(len(summary.rows), 'class', 'classes')} gave a result"
    classes += f"; {fleet.failed} failed" if fleet.failed else ""
    over = f"{fleet.over_budget} of {done} devices above their budget"
    return [
        _headline(fleet, facts.before),
        Tile("devices", f"{done} of {asked}" if asked > done else str(done), classes),
        Tile("got worse", units.percent_text(fleet.worse_share), _worse_note(fleet, facts.base)),
        Tile(
            "memory budget used",
            units.percent_text(fleet.memory_share),
            f"at most on any device; {over}",
            "bad" if fleet.over_budget else "",
        ),
        Tile("of FullTrain's MACs", units.percent_text(fleet.backward_share), _weights_note(reports)),
    ]


def _worse_note(fleet: ClassRow, base: str) -> str:
    interval = f" (95 %: {units.interval_text(fleet.worse_interval)})" if fleet.worse_interval else ""
    return f"of the devices{interval}; each keeps its {base}"


def _weights_note(reports: Sequence[PersonalisationReport]) -> str:
    counts = sorted(report.updated_weights for report in trained(latest(reports)))
    if not counts:
        return "backward, mean over devices; no weight was updated"
    weights = f"{units.count_text(counts[0])} to {units.count_text(counts[-1])} weights updated"
    return f"backward, mean over devices that trained; {weights}"


def _class_rows(summary: Summary) -> list[dict[str, Any]]:
    return [
        {"colour": position % len(CLASS_COLOURS), "cells": cells(row), "outcomes": row.outcomes}
        for position, row in enumerate(summary.rows)
    ]


def _task_note(reports: Sequence[PersonalisationReport]) -> str:
    """The sizes of the devices' own tasks, as a sentence."""
    done = [report for report in latest(reports) if report.ways]
    if not done:
        return ""
    ranges = []
    for field, noun in TASK_SIZES.items():
        values = [getattr(report, field) for report in done]
        low, high = min(values), max(values)
        ranges.append(f"{low} {noun}" if low == high else f"{low} to {high} {noun}")
    return "Each device has " + ", ".join(ranges) + "."


def _plain(rows: Sequence[Texts]) -> list[tuple[None, Texts]]:
    """Rows of no class."""
    return [(None, row) for row in rows]


def render_html(
    reports: Sequence[PersonalisationReport], facts: RunFacts, spec: BackboneSpec, account: Account | None = None
) -> str:
    """The page, from the run's reports and what `facts` says about it; with its account, what happened as well."""
    account = account or Account(summarise(reports))
    summary = account.summary
    return template(TEMPLATE).render(
        facts=facts,
        summary=summary,
        tiles=_tiles(account, reports, facts),
        loss_head=LOSS_HEAD,
        losses=losses(summary),
        happened=happened_texts(account),
        happened_head=HAPPENED_HEAD,
        causes_head=CAUSES_HEAD,
        lies_head=LIES_HEAD,
        plain=_plain,
        many=len(evaluated(latest(reports))) > MANY,
        rows=_class_rows(summary),
        fleet=cells(summary.fleet),
        outcomes=[(OUTCOMES[name].format(facts.base), name, count) for name, count in summary.fleet.outcomes.items()],
        ended=account.whole.ended if account.whole else None,
        task_note=_task_note(reports),
        spec=spec,
        accuracy=accuracy_figure(summary, reports),
        memory=memory_figure(summary, reports),
        layers=layers_figure(summary, reports, spec),
        layers_narrow=layers_figure(summary, reports, spec, NARROW),
    )
