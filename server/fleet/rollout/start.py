"""What has to be true before a rollout begins, each checked with an error that says what to do."""

from collections.abc import Iterable
from dataclasses import replace

from server.fleet.nodes import Node
from server.fleet.rollout.events import joined
from server.fleet.rollout.gates import LEAST_FOR_INTERVAL
from server.fleet.rollout.spec import RolloutSpec
from server.fleet.rollout.state import Decision, RolloutState
from server.fleet.rollout.targeting import cuts, members
from server.fleet.supply import no_way_back
from server.releases.registry import Registry, SignedRelease
from tinytrain_core.errors import ConfigurationError, ReleaseError, StorageError
from tinytrain_core.release import Trust, check_file


def _version(spec: RolloutSpec, registry: Registry) -> int:
    if isinstance(spec.release, int):
        return spec.release
    version = registry.channel(spec.release)
    if version is None:
        raise ConfigurationError(
            f"the channel {spec.release} offers no release; `tinytrain-server release promote VERSION --channel "
            f"{spec.release}` does, or name a version"
        )
    return version


def _checked(version: int, registry: Registry, trust: Trust, now_s: float) -> SignedRelease:
    """The release, as a device would take it now."""
    if withdrawal := registry.withdrawals().get(version):
        raise ConfigurationError(f"release {version} was withdrawn ({withdrawal.reason}); make a new version")
    release = registry.release(version)
    release.check(trust, now_s)
    check_file(release.manifest, registry.file(release.manifest.digest))
    return release


def _back_to(spec: RolloutSpec, version: int, registry: Registry, trust: Trust, now_s: float) -> int | None:
    """The release to go back to, for which a signed order is there; None where the rollout cannot go back."""
    stable = registry.channel("stable")
    if stable is not None and version < stable:
        raise ConfigurationError(f"release {version} is below {stable}, which stable offers; nodes would refuse it")
    if stable is None or stable == version:
        why = "stable offers no release yet" if stable is None else f"release {version} is what stable offers"
        if spec.rollback == "auto":
            raise ConfigurationError(f"{why}, so that there is nothing to go back to; say `rollback: none`")
        return None
    order = registry.rollback_order(stable, version, trust, now_s)
    problem = no_way_back(version, stable) if order is None else _unusable(order, registry, trust, now_s)
    if problem and spec.rollback == "auto":
        raise ConfigurationError(problem)
    return None if problem else stable


def _unusable(order: SignedRelease, registry: Registry, trust: Trust, now_s: float) -> str:
    """Why a roll-back order cannot be used; empty where it can."""
    try:
        order.check(trust, now_s)
        check_file(order.manifest, registry.file(order.manifest.digest))
    except (ReleaseError, StorageError) as error:
        return f"the roll-back order from {order.manifest.withdraws} to {order.manifest.version} is of no use: {error}"
    return ""


def _check_size(spec: RolloutSpec, state: RolloutState, known: int) -> None:
    if not state.nodes:
        raise ConfigurationError(f"none of the {known} nodes fits the target; `tinytrain-server node list` shows them")
    gates = spec.gates
    if gates.too_few == "pass":
        return
    first = sum(len(node.devices) for node in state.nodes.values() if node.stage == 0)
    if first < gates.min_reports:
        raise ConfigurationError(
            f"the first stage has {first} devices and gates.min_reports is {gates.min_reports}, so that it could "
            "never pass; make it larger, ask for fewer reports, or say `too_few: pass`"
        )
    if first < LEAST_FOR_INTERVAL and gates.min_gain_lower_bound is not None:
        raise ConfigurationError(
            f"the first stage has {first} device and gates.min_gain_lower_bound needs {LEAST_FOR_INTERVAL}, so that "
            "it could never pass; make it larger, say `min_gain_lower_bound: null`, or `too_few: pass`"
        )


def prepared(
    spec: RolloutSpec, registry: Registry, trust: Trust, nodes: Iterable[Node], now_s: float, cohort: int = 0
) -> RolloutState:
    """The rollout as it would begin now, not stored yet.

    Args:
        cohort: accuracies of fewer devices are not shown.

    Raises:
        ConfigurationError: no such release, nobody to send it to, too few for the first stage, or no way back.
        ReleaseError: the release is not signed by enough, has expired, or is damaged.
        StorageError: the registry cannot be read.
    """
    version = _version(spec, registry)
    release = _checked(version, registry, trust, now_s)
    back_to = _back_to(spec, version, registry, trust, now_s)
    known = list(nodes)
    spec = spec.model_copy(update={"seed": spec.seed or registry.line})
    fitting = members(spec, known)
    state = RolloutState(spec, version, release.manifest.digest, cuts(spec, fitting), back_to=back_to, began_s=now_s)
    state = replace(joined(state, fitting), cohort=cohort)
    _check_size(spec, state, len(known))
    return state


def began(state: RolloutState) -> Decision:
    """The first decision of a rollout."""
    devices = sum(len(node.devices) for node in state.nodes.values())
    back = "it cannot be rolled back" if state.back_to is None else f"back is release {state.back_to}"
    text = f"release {state.version} to {len(state.nodes)} nodes with {devices} devices; {back}"
    return Decision("began", text, {"nodes": len(state.nodes), "devices": devices})


def brought_along(state: RolloutState, nodes: Iterable[Node]) -> int:
    """Devices in a rollout that are of none of the classes of its target: a gateway's devices go together."""
    classes = state.spec.target.classes
    hosted = (device for node in nodes if node.name in state.nodes for device in node.devices)
    return sum(device.profile not in classes for device in hosted) if classes else 0
