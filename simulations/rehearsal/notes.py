"""What a rehearsal adds in words: what its gates could not judge, and what a real fleet has to do beforehand."""

from collections.abc import Sequence
from math import inf

from simulations.rehearsal.rehearse import Rehearsal
from simulations.rehearsal.stages import STOPPED, StageResult


def _no_stable(rehearsal: Rehearsal) -> list[str]:
    """What does not show where no node uses a release when it begins."""
    if rehearsal.fleet.in_use is not None:
        return []
    found = ["max_drop was not judged"] if rehearsal.rollout.spec.gates.max_drop is not None else []
    return found if rehearsal.rollout.back_to is None else [*found, "the way back leads to the same weights"]


def without_stable(rehearsal: Rehearsal) -> str:
    """A sentence on what the absence of --stable leaves out, behind a space; empty where that is nothing."""
    found = _no_stable(rehearsal)
    return f" Without --stable {', and '.join(found)}." if found else ""


def way_back(rehearsal: Rehearsal) -> list[str]:
    """What the real rollout needs, where its nodes are to go back without a hand."""
    spec = rehearsal.rollout.spec
    if spec.rollback != "auto":
        return []
    release = spec.release if isinstance(spec.release, int) else "RELEASE"
    return [
        "With rollback: auto the real `tinytrain-server rollout start` needs a roll-back order that is signed before: "
        f"`tinytrain-server release create --rollback-to STABLE --withdraws {release}`, where STABLE is the release "
        "that the channel stable offers. The rehearsal has signed one of its own."
    ]


def advice(rehearsal: Rehearsal, stages: Sequence[StageResult]) -> list[str]:
    """What to do where a gate could not judge."""
    gates, found = rehearsal.rollout.spec.gates, []
    if any(stage.result == STOPPED and stage.figures.get("counted", inf) < gates.min_reports for stage in stages):
        found.append(
            f"Gates need min_reports = {gates.min_reports} devices that have reported or failed. Where one is away a "
            "small stage has fewer: give it more devices or a longer deadline_s, or say too_few: pass."
        )
    if gates.max_drop is not None and rehearsal.fleet.in_use is None:
        found.append(
            "max_drop was not judged: it compares with what devices have reported of the release before. Say --stable "
            "with the backbone that they use now, and it is."
        )
    return found
