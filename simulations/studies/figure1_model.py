"""The model that reproduces Figure 1: MACs over a rate, memory above what there is over a swap, two levels of power.

T = passes x (forward + backward MACs) / rate + iterations x seconds per MiB x MiB above what is usable. Fitted to a
Raspberry Pi Zero 2 W, and carried over to other devices by their rate, memory and power in the catalogue.
"""

from dataclasses import dataclass

from simulations.studies import published
from simulations.studies.text import MILLION
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.devices.estimate import estimate
from tinytrain_core.devices.profile import DeviceProfile
from tinytrain_core.selection.cost import MIB

SWAPPING_FAMILIES = ("sbc", "gpu")  # boards that run Linux from a card; microcontrollers and apps have no swap


@dataclass(frozen=True)
class Modelled:
    """A whole personalisation on a device by the paper's Table 2.

    Attributes:
        needed_mib: of which `usable_mib` are there; what is missing is swapped, where the device can.
    """

    computing_s: float
    swapping_s: float
    joules: float
    needed_mib: float
    usable_mib: float

    @property
    def seconds(self) -> float:
        return self.computing_s + self.swapping_s


def usable_mib(profile: DeviceProfile) -> float:
    """What training may use without swapping."""
    return profile.memory_bytes / MIB


def swaps(profile: DeviceProfile) -> bool:
    """Whether a device goes on where its memory ends."""
    return profile.family in SWAPPING_FAMILIES


def rated(profile: DeviceProfile, spec: BackboneSpec) -> DeviceProfile:
    """The device at the rate that Figure 1 shows for a backbone on it, where it is the figure's."""
    model = published.latency_model()
    if profile.name != model.device or spec.name not in model.macs_per_s:
        return profile
    rate = profile.macs_per_s.model_copy(update={"value": model.macs_per_s[spec.name]})
    return profile.model_copy(update={"macs_per_s": rate})


def _watts(profile: DeviceProfile, swapping: bool) -> float:
    """Of a whole run; swapping lowers it on every device by what it does on the fitted one."""
    model = published.latency_model()
    return profile.active_w.value * (model.swapping_w / model.active_w if swapping else 1)


def modelled(profile: DeviceProfile, spec: BackboneSpec, cost: published.Cost) -> Modelled | None:
    """Time and energy; None where the memory is too small and nothing can be swapped."""
    model, needed, usable = published.latency_model(), float(cost.memory_mib), usable_mib(profile)
    missing = max(needed - usable, 0.0)
    if missing and not swaps(profile):
        return None
    macs = model.passes * (spec.macs + float(cost.backward_mmacs) * MILLION)
    computing_s = estimate(rated(profile, spec), round(macs)).time_s
    swapping_s = model.iterations * model.swap_s_per_mib * missing
    joules = _watts(profile, missing > 0) * (computing_s + swapping_s)
    return Modelled(computing_s, swapping_s, joules, needed, usable)
