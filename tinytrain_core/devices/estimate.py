"""What a personalisation would take on a device: time = MACs / rate, energy = power x time.

The linear model is the one that fits the paper's Figure 1 within 8 % as long as nothing is swapped.
"""

from dataclasses import dataclass

from tinytrain_core.devices.profile import DeviceProfile


@dataclass(frozen=True)
class Estimate:
    """Seconds and joules on the device; an estimate, never a measurement."""

    time_s: float
    energy_j: float


def estimate(profile: DeviceProfile, macs: int) -> Estimate:
    """The time and the energy of `macs` multiply-accumulates of fp32 training."""
    time_s = macs / profile.macs_per_s.value
    return Estimate(time_s, time_s * profile.active_w.value)
