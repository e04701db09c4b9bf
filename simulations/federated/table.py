"""What a baseline's command prints beside the table of the fleet: the federation, and the bytes and joules of both."""

from collections.abc import Iterator

from simulations.federated.account import Cost, Round
from simulations.federated.baseline import Finished
from simulations.federated.tuning import Tried, Tuned
from simulations.reporting.units import NOTHING, bytes_text, count_text, joules_text

CAUSES = {"late": "late or lost", "failed": "failed", "refused": "refused", "untrained": "could not train"}
COST_COLUMNS = ("phase", "messages", "bytes down", "bytes up", "energy of computing")


def round_line(found: Round, rounds: int) -> str:
    """One line as a round ends."""
    missing = ", ".join(f"{count} {CAUSES.get(cause, cause)}" for cause, count in found.missing.items())
    if not found.nodes:
        return f"round {found.round}/{rounds}: no node that can train was there"
    trained = f"{found.devices} devices trained on {found.images} images" if found.devices else "no device trained"
    loss = f", loss {found.loss_first:.3f} -> {found.loss_last:.3f}" if found.devices else ""
    return f"round {found.round}/{rounds}: {trained}{loss}" + (f"; nodes without a part: {missing}" if missing else "")


def participants_line(done: Finished) -> str:
    """Who took part, and what the others lacked; empty where nothing was federated."""
    if not done.participants:
        return ""
    can, cannot = done.participants["devices_that_can"], done.participants["devices_that_cannot"]
    line = f"{can} devices can hold the training of all weights"
    if not cannot:
        return line
    needed, largest = done.participants["needed_bytes"], done.participants["largest_budget_of_those_bytes"]
    lack = f": it takes at least {bytes_text(needed)}, they have at most {bytes_text(largest)}" if needed else ""
    return f"{line}; {cannot} cannot and took no part{lack} (--ignore-budgets supposes that they could)"


def _cells(name: str, cost: Cost) -> tuple[str, ...]:
    joules = joules_text(cost.energy_j) if cost.energy_j else NOTHING
    return name, count_text(cost.messages), bytes_text(cost.down_bytes), bytes_text(cost.up_bytes), joules


def cost_lines(done: Finished) -> list[str]:
    """The cost of the federation, of the last personalisation, and of both, as aligned text."""
    costs = done.costs
    named = (("federation", costs.federation), ("personalisation", costs.ending), ("together", costs.total))
    rows = [COST_COLUMNS, *(_cells(name, cost) for name, cost in named)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COST_COLUMNS))]
    pad = [str.ljust, *[str.rjust] * (len(COST_COLUMNS) - 1)]
    return ["  ".join(pad[i](row[i], widths[i]) for i in range(len(row))).rstrip() for row in rows]


def tried_line(tried: Tried) -> str:
    """One line as a pair of rates has been tried."""
    federation = "" if tried.federation is None else f"federation {tried.federation:g}, "
    return f"learning rates: {federation}personalisation {tried.ending:g}: {100 * tried.accuracy:.2f} % accurate"


def tuned_lines(tuned: Tuned) -> Iterator[str]:
    """What was chosen, and on whom."""
    yield f"chosen on {tuned.best.devices} validation users of {tuned.data}, seed {tuned.seed}:"
    yield f"  {tried_line(tuned.best)}"
