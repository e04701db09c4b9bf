"""Device classes: what a device has, each figure with its source, and the budget that follows."""

from functools import lru_cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.budget import Budget


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Model):
    """One number, how well it is known, and where it is from."""

    value: float = Field(gt=0)
    grade: Literal["F", "D", "E"]  # found in a public source, derived from one, estimated here
    source: str = Field(min_length=3)


class DeviceProfile(_Model):
    """One class of devices. Sizes are bytes, the rate is fp32 training MACs per second, the power watts."""

    name: str
    number: int = Field(gt=0)
    title: str
    family: Literal["mcu", "sbc", "gpu", "phone"]
    ram_bytes: Figure
    reserved_bytes: Figure
    storage_bytes: Figure
    macs_per_s: Figure
    active_w: Figure
    compute_share: float = Field(gt=0, le=1)

    @property
    def memory_bytes(self) -> int:
        """What training may use: the memory less what the rest of the device needs."""
        return int(self.ram_bytes.value - self.reserved_bytes.value)

    def budget(self, full_train_backward_macs: int, held_bytes: int = 0) -> Budget:
        """The budget that this class grants a backbone whose full training costs that much per step and image.

        Args:
            held_bytes: of the storage that the backbone itself takes.
        """
        storage = max(int(self.storage_bytes.value) - held_bytes, 0)
        return Budget(self.memory_bytes, int(self.compute_share * full_train_backward_macs), storage)


@lru_cache
def catalogue() -> dict[str, DeviceProfile]:
    """Every device class, by name."""
    raw = yaml.safe_load((files(__package__) / "catalogue.yaml").read_text())
    return {name: DeviceProfile(name=name, **entry) for name, entry in raw.items()}


def device_profile(name: str) -> DeviceProfile:
    """The device class called `name`.

    Raises:
        ConfigurationError: the catalogue has none of that name.
    """
    if name not in catalogue():
        raise ConfigurationError(f"unknown device {name!r}; the catalogue has {', '.join(catalogue())}")
    return catalogue()[name]


def profile_by_number(number: int) -> DeviceProfile | None:
    """The device class that a report means, None where this catalogue does not have it."""
    return next((profile for profile in catalogue().values() if profile.number == number), None)
