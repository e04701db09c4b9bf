"""When the devices of a node compute: one thing after the other, when there is charge for it, slower when hot.

What a device did before is the only state of the simulated world.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from client.config import NodeConfig
from simulations.clock import START_S
from simulations.world.draws import Figure, uniform
from simulations.world.power import charge_at, charged_s, computing, cooled
from simulations.world.settings import Battery, Power, Thermal, of_class
from simulations.world.visit import Work
from tinytrain_core.devices.profile import DeviceProfile
from tinytrain_core.seeds import Draw


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device when it last ended computing.

    Attributes:
        free_s: when that was.
        charge_j: of its battery then; 0 for a device on the mains.
        heat_s: seconds of computing that it had in it.
    """

    free_s: float
    charge_j: float
    heat_s: float


@dataclass(frozen=True)
class _Limits:
    """What limits one device."""

    battery: Battery | None
    thermal: Thermal | None


class Devices:
    """The devices of a fleet as far as they have computed. Ask in the order of time.

    Args:
        nodes: who hosts them.
    """

    def __init__(self, power: Power, seed: int, nodes: Sequence[NodeConfig]) -> None:
        self._power, self._seed, self._nodes = power, seed, nodes
        self._states: dict[int, DeviceState] = {}

    def _limits(self, node: int) -> dict[int, _Limits]:
        """Of each device of a node, by its number; of none where nothing is limited."""
        if not (self._power.batteries or self._power.thermal):
            return {}
        return {device.number: self._limits_of(device.device_class) for device in self._nodes[node].devices}

    def _limits_of(self, profile: DeviceProfile) -> _Limits:
        return _Limits(of_class(self._power.batteries, profile), of_class(self._power.thermal, profile))

    def _state(self, device: int, battery: Battery | None) -> DeviceState:
        held = self._states.get(device)
        if held is not None or battery is None:
            return held or DeviceState(START_S, 0.0, 0.0)
        own = 2 * uniform(device, self._seed, Draw.DEVICE_FIGURE, Figure.CHARGE) - 1
        share = min(max(battery.start + battery.start_spread * own, 0.0), 1.0)
        return DeviceState(START_S, share * battery.capacity_j, 0.0)

    def charge_j(self, node: int, device: int, at_s: float) -> float | None:
        """The charge of a device's battery, at a time at which it does not compute; None on the mains."""
        limits = self._limits(node).get(device)
        if limits is None or limits.battery is None:
            return None
        state = self._state(device, limits.battery)
        return charge_at(limits.battery, state.charge_j, state.free_s, max(at_s, state.free_s))

    def compute(
        self, node: int, works: Sequence[Work], from_s: float, until_s: float
    ) -> tuple[float, tuple[Work, ...]] | None:
        """Let the devices of a node compute, all at the same time, each as soon as it can.

        Args:
            works: at full speed.
            from_s, until_s: between which they may begin.

        Returns:
            When the last has ended, and what each did in what time; None, and nothing has begun, where a battery
            has too little charge all the time.
        """
        limits = self._limits(node)
        ended, done, states = from_s, [], {}
        for work in works:
            begun = self._begin(limits.get(work.device), work, from_s, until_s)
            if begun is None:
                return None
            took, states[work.device] = begun
            done.append(replace(work, time_s=took))
            ended = max(ended, states[work.device].free_s)
        self._states |= states
        return ended, tuple(done)

    def _begin(
        self, limits: _Limits | None, work: Work, from_s: float, until_s: float
    ) -> tuple[float, DeviceState] | None:
        """How long the work takes and the device's state after it; None without charge."""
        battery, thermal = (limits.battery, limits.thermal) if limits else (None, None)
        state = self._state(work.device, battery)
        begins_s: float | None = max(from_s, state.free_s)
        charge_j = 0.0
        if battery is not None:
            begins_s, charge_j = _charged(battery, state, work, max(from_s, state.free_s), until_s)
        if begins_s is None:
            return None
        took_s, heat_s = work.time_s, 0.0
        if thermal is not None:
            heat_s = cooled(thermal, state.heat_s, begins_s - state.free_s)
            took_s, heat_s = computing(thermal, heat_s, work.time_s)
        if battery is not None:
            charge_j = charge_at(battery, charge_j, begins_s, begins_s + took_s)
        return took_s, DeviceState(begins_s + took_s, charge_j, heat_s)


def _charged(
    battery: Battery, state: DeviceState, work: Work, from_s: float, until_s: float
) -> tuple[float | None, float]:
    """When a battery can serve the work, and what it then has left; None if it cannot."""
    now_j = charge_at(battery, state.charge_j, state.free_s, from_s)
    needed_j = battery.reserve * battery.capacity_j + work.energy_j
    begins_s = charged_s(battery, now_j, from_s, needed_j, max(from_s, until_s))
    if begins_s is None:
        return None, now_j
    return begins_s, max(charge_at(battery, now_j, from_s, begins_s) - work.energy_j, 0.0)
