"""What a rollout leaves undone when another one takes its place, and which nodes use what was withdrawn. Pure."""

from collections.abc import Collection, Iterable, Mapping

from server.fleet.nodes import Node
from server.fleet.rollout.state import BACKWARD, Phase, Progress, RolloutState, Step
from tinytrain_core.errors import ConfigurationError

MOST_NAMED = 10


def on_withdrawn(fleet: Iterable[Node], withdrawn: Collection[int]) -> dict[str, int]:
    """Nodes that use a release that was withdrawn, by what they last said, with its version."""
    found = ((node.name, node.status.version) for node in fleet if node.status is not None)
    return {name: version for name, version in found if version in withdrawn}


def _owed(state: RolloutState, node: Progress) -> bool:
    """Whether a node still has something to get of a rollout that has ended."""
    if state.phase in BACKWARD:
        return node.back_from > 0 and node.step is not Step.DONE
    return state.phase is Phase.COMPLETED and not node.settled


def unfinished(before: RolloutState | None, fleet: Iterable[Node], withdrawn: Collection[int]) -> dict[str, str]:
    """Nodes that need a rollout, and why: the last one has not reached them, or they use what was withdrawn.

    Args:
        before: the rollout that was started last.
    """
    known = {node.name: node for node in fleet}
    found = {}
    if before is not None:
        what = f"release {before.back_to}" if before.phase in BACKWARD else f"release {before.version}"
        why = f"has not got {what} of rollout {before.spec.name} yet"
        found = {name: why for name, node in before.nodes.items() if name in known and _owed(before, node)}
    bad = on_withdrawn(known.values(), withdrawn)
    return found | {name: f"uses release {version}, which was withdrawn" for name, version in bad.items()}


def check_nobody_left(state: RolloutState, undone: Mapping[str, str]) -> None:
    """Make sure that a rollout which begins reaches every node that needs one.

    Raises:
        ConfigurationError: it leaves some behind.
    """
    left = [f"{name} {why}" for name, why in sorted(undone.items()) if name not in state.nodes]
    if left:
        more = f"; and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
        raise ConfigurationError(
            f"{len(left)} nodes outside the target would be left behind: {'; '.join(left[:MOST_NAMED])}{more}. Widen "
            "the target, or start it with --leave-behind"
        )
