"""What the paper prints of the same questions, as tables beside a study's own."""

from collections.abc import Callable, Mapping

from simulations.reporting.sections import Section
from simulations.reporting.units import NOTHING
from simulations.studies import published
from simulations.studies.findings import Findings

AVERAGE = "average"
MCUNET = "MCUNet"
POSTER = "The poster's figures of MCUNet, mean of the paper's nine domains; none of them is of this study's tasks."
TRAININGS = "Baselines without meta-training, TinyTrain with it; 200 tasks of various ways and shots a domain."
LEDGER = "Memory as the poster counts it, in an older accounting; accuracies digitised to within 0.1 points."


def _text(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def _averages(findings: Findings) -> Section | None:
    """The paper's averages of its nine domains, of the backbones and methods that the study has."""
    methods = dict.fromkeys(arm.method for arm in findings.settings.arms())
    found = {b: {m: published.accuracy(b, m, AVERAGE) for m in methods} for b in findings.settings.backbones}
    backbones = [backbone for backbone, values in found.items() if any(values.values())]
    printed = [m for m in methods if any(found[backbone][m] for backbone in backbones)]
    rows = [(backbone, *(_text(found[backbone][m]) for m in printed)) for backbone in backbones]
    title = "The paper's Table 1: average of its nine domains, %"
    return Section(title, ("backbone", *printed), rows, labels=1, notes=(TRAININGS,)) if rows else None


def _meta() -> Section:
    without, along = published.ablation().without_meta_training, published.ablation().with_meta_training
    rows = [
        (MCUNET, m, _text(without[m]), _text(along[m]), f"{along[m] - without[m]:+.1f}".replace("-", "−"))
        for m in along
    ]
    columns = ("backbone", "arm", "plain", "meta", "difference, points")
    return Section("The paper on meta-training, %", columns, rows, notes=(POSTER,))


def _channels() -> Section:
    found = published.ablation().channels
    ranked = {"fisher": found.fisher, "l2": found.l2, "random": found.random}
    rows = [(MCUNET, name, *(f"{value:.2f}" for value in values)) for name, values in ranked.items()]
    columns = ("backbone", "arm", *(f"{kilobytes:g} kB" for kilobytes in found.memory_kb))
    return Section("The paper on channels, by memory, %", columns, rows, notes=(POSTER, LEDGER))


OF_QUESTIONS: Mapping[str, Callable[[], Section]] = {"meta": _meta, "channels": _channels}


def paper_sections(findings: Findings) -> list[Section]:
    """The paper's figures on what the study asks."""
    if any(comparison.printed for comparison in findings.comparisons):
        averages = _averages(findings)
        return [averages] if averages else []
    questions = dict.fromkeys(comparison.question for comparison in findings.comparisons)
    return [OF_QUESTIONS[name]() for name in questions if name in OF_QUESTIONS]
