"""Whether a device may personalise now: its hours, its power and its temperature.

What cannot be read does not hold a device back: without a battery there is none to spare, and without a sensor there
is nothing to know. Linux shows both as files.
"""

from dataclasses import dataclass, field
from datetime import datetime, time
from pathlib import Path

from client.agent.config import WINDOW, AgentConfig, PowerConfig
from tinytrain_core.orders import NodeState

COOLER_C = 5.0  # below the limit, before a device that was too hot goes on


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(file: Path) -> float | None:
    try:
        return float(_text(file))
    except ValueError:
        return None


def within(window: str, now: time) -> bool:
    """Whether a time of day is in `HH:MM-HH:MM`, which may pass midnight; the same time twice is the whole day."""
    match = WINDOW.match(window)
    if match is None:
        raise ValueError(f"a window is HH:MM-HH:MM, not {window!r}")
    hours = [int(part) for part in match.groups()]
    begin, end = time(hours[0], hours[1]), time(hours[2], hours[3])
    if begin == end:
        return True
    return begin <= now < end if begin < end else now >= begin or now < end


@dataclass(frozen=True)
class Conditions:
    """A device's rules, and where its sensors are."""

    window: tuple[str, ...] = ()
    power: PowerConfig = field(default_factory=PowerConfig)
    max_c: float | None = None
    supplies: Path = Path("/sys/class/power_supply")
    thermal: Path = Path("/sys/class/thermal")

    @classmethod
    def of(cls, config: AgentConfig) -> "Conditions":
        """Those of a device's settings."""
        limit = config.temperature.max_c if config.temperature else None
        return cls(config.window, config.power, limit)

    def check(self, now_s: float, hot: bool = False) -> NodeState:
        """IDLE where nothing speaks against it, else what does.

        Args:
            now_s: seconds since 1970; windows are in local time.
            hot: it was too hot the last time, and has to cool below the limit first.
        """
        now = datetime.fromtimestamp(now_s).time()
        if self.window and not any(within(window, now) for window in self.window):
            return NodeState.OUTSIDE_WINDOW
        if not self._powered():
            return NodeState.NO_POWER
        return NodeState.TOO_HOT if self._hot(hot) else NodeState.IDLE

    def _powered(self) -> bool:
        kinds = {folder: _text(folder / "type") for folder in self.supplies.glob("*")}
        mains = [folder for folder, kind in kinds.items() if kind in ("Mains", "USB", "Wireless")]
        batteries = [
            folder for folder, kind in kinds.items() if kind == "Battery" and _text(folder / "scope") != "Device"
        ]
        if not batteries or any(_text(folder / "online") == "1" for folder in mains):
            return True
        if self.power.mains_only:
            return False
        charges = [charge for folder in batteries if (charge := _number(folder / "capacity")) is not None]
        return not charges or min(charges) >= self.power.min_battery_percent

    def _hot(self, was_hot: bool) -> bool:
        if self.max_c is None:
            return False
        zones = [_number(file) for file in self.thermal.glob("thermal_zone*/temp")]
        limit = self.max_c - (COOLER_C if was_hot else 0.0)
        return any(zone is not None and zone / 1000 > limit for zone in zones)
