"""A rollout as rows to print."""

from collections.abc import Iterable, Mapping
from typing import Any

from server.fleet.rollout.gates import Finding, Result, findings
from server.fleet.rollout.sample import judged
from server.fleet.rollout.state import Progress, RolloutState, Step
from server.words import moment


def _devices(nodes: list[Progress]) -> int:
    return sum(len(node.devices) for node in nodes)


def stage_rows(state: RolloutState) -> list[dict[str, Any]]:
    """One row for each stage: how large it is, alone and with those before."""
    rows, total = [], 0
    for number, stage in enumerate(state.spec.stages):
        nodes = [node for node in state.nodes.values() if node.stage == number]
        total += _devices(nodes)
        row = {"stage": number + 1, "name": stage.name, "size": stage.size, "nodes": len(nodes)}
        limits = {"deadline_s": state.spec.deadline_of(number), "soak_s": stage.soak_s}
        rows.append(row | {"devices": _devices(nodes), "devices_in_all": total} | limits)
    return rows


def progress_rows(state: RolloutState) -> list[dict[str, Any]]:
    """One row for each stage: how many of its nodes stand where, and how many devices have reported."""
    rows = []
    for number, stage in enumerate(state.spec.stages):
        nodes = [node for node in state.nodes.values() if node.stage == number]
        steps = [node.step for node in nodes]
        reported = _devices(nodes) - sum(len(node.owes) for node in nodes)
        row = {
            "stage": number + 1,
            "name": stage.title,
            "now": "*" if number == state.stage else "",
            "nodes": len(nodes),
        }
        rows.append(
            row | {step.value: steps.count(step) for step in Step} | {"reported": f"{reported}/{_devices(nodes)}"}
        )
    return rows


def node_rows(state: RolloutState) -> list[dict[str, Any]]:
    """One row for each node, in the order in which they are ordered."""
    ordered = sorted(state.nodes.items(), key=lambda item: (item[1].stage, item[1].place))
    return [
        {
            "node": name,
            "stage": node.stage + 1,
            "devices": ", ".join(map(str, node.devices)),
            "step": node.step.value + (" (back)" if node.back_from else ""),
            "attempt": node.attempt,
            "deadline": moment(node.deadline_s) if node.step is Step.ORDERED else "",
            "note": node.note,
        }
        for name, node in ordered
    ]


def gate_rows(state: RolloutState) -> list[dict[str, Any]]:
    """One row for each gate: what is known so far, the bound, and what follows from it."""
    of, least = judged(state), state.spec.gates.min_reports
    enough = "passed" if of.counted >= least else f"{of.counted} of {least}"
    counted = {"figure": "counted", "now": str(of.counted), "bound": f"at least {least}", "judged": enough}
    return [counted, *(_gate_row(found, of.cohort) for found in findings(of, state.spec.gates))]


def _gate_row(found: Finding, cohort: int) -> dict[str, Any]:
    which = "at most" if found.gate in ("max_share_failed", "max_share_worse") else "at least"
    shown = found.gate == "max_share_failed" or found.value is None or found.count >= cohort
    lacks = f": {found.count} of {found.needed}" if found.result is Result.NOT_JUDGED else ""
    return {
        "figure": found.figure,
        "now": _short(found.value) if shown else f"fewer than {cohort} devices",
        "bound": "off" if found.bound is None else f"{which} {found.bound:g}",
        "judged": f"{found.result.value}{lacks}",
    }


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def decision_rows(decisions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Decisions with their times in words."""
    return [{"when": moment(each["at_s"]), "what": each["what"], "reason": each["reason"]} for each in decisions]


def summary_rows(rollouts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rollouts with their times in words."""
    times = ("started_s", "ended_s")
    return [
        {name.removesuffix("_s"): moment(value) if name in times else value for name, value in each.items()}
        for each in rollouts
    ]


def facts(state: RolloutState) -> dict[str, Any]:
    """A rollout without its nodes."""
    return {
        "name": state.spec.name,
        "number": state.number,
        "release": state.version,
        "back_to": state.back_to,
        "phase": state.phase.value,
        "stage": state.stage + 1,
        "stages": len(state.spec.stages),
        "reason": state.reason,
        "blocked": state.blocked,
        "dark_since": moment(state.dark_s),
    }


def headline(state: RolloutState) -> str:
    """A rollout in a sentence."""
    text = f"rollout {state.spec.name}, release {state.version}: {state.phase.value}, {state.title}"
    blocked = f"blocked: {state.blocked}" if state.blocked else ""
    dark = f"no node can be reached since {moment(state.dark_s)}" if state.dark_s is not None else ""
    return "; ".join(part for part in (text, state.reason, blocked, dark) if part)
