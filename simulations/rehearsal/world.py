"""A simulated world in which work can be interrupted: a device that gets a later order ends what it is at."""

from collections.abc import Sequence
from dataclasses import replace

from client.config import NodeConfig
from simulations.settings import FleetSettings
from simulations.world.devices import Devices
from simulations.world.visit import Work
from simulations.world.world import World


class _Devices(Devices):
    def interrupted(self, works: Sequence[Work], left: float, at_s: float) -> None:
        """The devices of these works end them at `at_s`, and keep the charge of the share `left` of them."""
        for work in works:
            if (state := self._states.get(work.device)) is not None and state.free_s > at_s:
                kept_j = left * work.energy_j if state.charge_j else 0.0
                self._states[work.device] = replace(state, free_s=at_s, charge_j=state.charge_j + kept_j)


class RehearsedWorld(World):
    """A world whose devices can be interrupted."""

    def __init__(self, settings: FleetSettings, nodes: Sequence[NodeConfig]) -> None:
        super().__init__(settings, nodes)
        self.devices: _Devices = _Devices(settings.power, settings.seed, nodes)

    def interrupted(self, works: Sequence[Work], left: float, at_s: float) -> None:
        """What was begun is not done any more.

        Args:
            works: as a visit has them.
            left: the share that is not done yet.
            at_s: when.
        """
        self.devices.interrupted(works, left, at_s)
