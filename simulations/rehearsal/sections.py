"""A rehearsal as tables for people: its stages, what gates said, every decision, and what remains."""

from collections.abc import Mapping, Sequence

from server.words import age
from simulations.rehearsal.notes import advice, way_back, without_stable
from simulations.rehearsal.rehearse import End, Rehearsal
from simulations.rehearsal.stages import NOT_BEGUN, Decided, StageResult
from simulations.rehearsal.times import SHORT_S, day_text, moment_text, unit_of
from simulations.reporting.sections import Section
from simulations.reporting.units import NOTHING, bytes_text, gain_text, joules_text

MOST_DECISIONS = 40
GATED = ("share_failed", "share_worse", "gain_lower_bound", "mean_change", "mean_gain")
_ENDS = {
    End.COMPLETED: "Every stage passed.",
    End.ROLLED_BACK: "A gate stopped it, and the nodes that had the release went back.",
    End.HALTED: "It halted. A real one would wait for `rollout resume` or `rollout abort` now.",
    End.PAUSED: "It paused, because the release cannot be sent; a real one would wait for the operator now.",
    End.STUCK: "Nothing more can happen: nobody answers, and no time that matters is to come.",
    End.UNFINISHED: "It had not ended when the time to look at was over; --until-h looks further.",
}
COLUMNS = (
    *("stage", "size", "result", "began", "ended", "nodes", "devices", "reported", "failed", "worse"),
    *("gain, points", "bytes down", "bytes up", "energy"),
)
TIMES = (
    "A stage takes whole nodes, a gateway with all of its devices. Times are virtual: a midnight is the start. Bytes "
    "are over the air and energy is that of computing, both of the stage's nodes in the whole rehearsal. ± is half the "
    "95 % interval of the mean gain. As on a real server no deadline passes while no node at all can be reached."
)


def _length_s(rehearsal: Rehearsal) -> float:
    return rehearsal.ended_s - rehearsal.began_s


def headline(rehearsal: Rehearsal) -> str:
    """What came of it in a sentence or two."""
    state, took_s = rehearsal.rollout, _length_s(rehearsal)
    unit_s, unit, _ = unit_of(took_s)
    day = "" if took_s < SHORT_S else f"on {day_text(took_s)}, "
    where = f"{day}{took_s / unit_s:.1f} virtual {unit} after it began"
    reason = (
        f" {state.reason[:1].upper()}{state.reason[1:]}."
        if rehearsal.end in (End.ROLLED_BACK, End.HALTED, End.PAUSED) and state.reason
        else ""
    )
    return f"Rollout {state.spec.name}, release {state.version}: {rehearsal.end.value} {where}. " + (
        f"{_ENDS[rehearsal.end]}{reason}{without_stable(rehearsal)}"
    )


def _row(stage: StageResult, whole_s: float) -> tuple[str, ...]:
    begun = stage.result != NOT_BEGUN
    return (
        f"{stage.number}",
        stage.title,
        stage.result,
        *(NOTHING if at_s is None else moment_text(at_s, whole_s) for at_s in (stage.began_s, stage.ended_s)),
        f"{stage.nodes}",
        f"{stage.devices}",
        f"{stage.reported}",
        f"{stage.failed}" if begun else NOTHING,
        f"{stage.worse}" if begun else NOTHING,
        gain_text(stage.gain),
        bytes_text(stage.down_bytes),
        bytes_text(stage.up_bytes),
        joules_text(stage.energy_j),
    )


def _stages(rehearsal: Rehearsal, stages: Sequence[StageResult], plots: Sequence[str]) -> Section:
    rows = [_row(stage, _length_s(rehearsal)) for stage in stages]
    return Section("Stages", COLUMNS, rows, labels=2, notes=(TIMES, *way_back(rehearsal)), plots=plots)


def _figure(value: object) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value}"


def _gates(rehearsal: Rehearsal, stages: Sequence[StageResult]) -> Section:
    rows = [
        (
            f"{stage.number}",
            stage.result,
            stage.verdict,
            ", ".join(f"{name} {_figure(value)}" for name, value in stage.figures.items() if name in GATED and value),
            f"{stage.figures.get('counted', NOTHING)}",
        )
        for stage in stages
        if stage.verdict
    ]
    columns = ("stage", "result", "what the gates said", "figures", "devices\njudged")
    note = (
        "Figures are as the rollout's file has its bounds: 0.1 is 10 %, or 10 points. A real server leaves out those "
        f"on accuracies of fewer than {rehearsal.fleet.config.minimum_cohort} devices, its minimum_cohort."
    )
    return Section("Gates", columns, rows, labels=4, notes=(note, *advice(rehearsal, stages)))


def _decisions(rehearsal: Rehearsal, decided: Sequence[Decided]) -> Section:
    half = MOST_DECISIONS // 2
    shown = decided if len(decided) <= MOST_DECISIONS else [*decided[:half], *decided[-half:]]
    left = len(decided) - len(shown)
    rows = [(moment_text(d.at_s, _length_s(rehearsal)), d.what, d.reason) for d in shown]
    notes = (f"{left} decisions between these are in rehearsal.json.",) if left else ()
    return Section("Decisions", ("when", "what", "why"), rows, labels=3, notes=notes)


def _counted(title: str, what: str, counts: Mapping[str, int], unit: str) -> Section:
    return Section(title, (what, unit), [(name, f"{count}") for name, count in counts.items()], labels=1)


def sections(
    rehearsal: Rehearsal,
    stages: Sequence[StageResult],
    decided: Sequence[Decided],
    left: Mapping[str, int],
    plots: Sequence[str] = (),
) -> list[Section]:
    """The tables, those left out that would be empty."""
    causes = dict(sorted(rehearsal.link.account.causes.items()))
    found = [_stages(rehearsal, stages, plots), _gates(rehearsal, stages), _decisions(rehearsal, decided)]
    if left:
        found.append(_counted("What remains", "nodes that owe reports", left, "nodes"))
    if causes:
        found.append(_counted("What went wrong", "in the simulated world", causes, "times"))
    return [section for section in found if section.rows]


def effort(rehearsal: Rehearsal, wall_s: float) -> str:
    """What the rehearsal itself took."""
    computed = f"{rehearsal.computed} reports computed, {rehearsal.recalled} known from before"
    return f"rehearsed in {age(wall_s)}: {computed}; {rehearsal.passes} passes of the controller"
