"""Batteries and heat: how much charge a device has when, and how long computing takes when it gets hot.

Charge changes at a constant rate between the beginnings and ends of the charging hours, and stops at empty and full.
"""

from collections.abc import Iterator

from simulations.clock import START_S
from simulations.world.settings import DAY_S, HOUR_S, Battery, Thermal


def _rates(battery: Battery, from_s: float) -> Iterator[tuple[float, float]]:
    """From `from_s` on: until when, and at how many watts the charge changes."""
    charging_w = battery.charge_w - battery.idle_w
    length_s = battery.charge_hours * HOUR_S
    if length_s >= DAY_S or not battery.charge_w or not length_s:
        yield float("inf"), charging_w if length_s else -battery.idle_w
        return
    day = (from_s - START_S - battery.charge_from_hour * HOUR_S) // DAY_S
    while True:
        begins_s = START_S + day * DAY_S + battery.charge_from_hour * HOUR_S
        if from_s < begins_s + length_s:
            yield begins_s + length_s, charging_w
        yield begins_s + DAY_S, -battery.idle_w
        day += 1


def charge_at(battery: Battery, charge_j: float, from_s: float, to_s: float) -> float:
    """The charge at `to_s` of a battery that has `charge_j` at `from_s`, nothing computed in between."""
    now_s = from_s
    for until_s, watts in _rates(battery, from_s):
        end_s = min(until_s, to_s)
        charge_j = min(max(charge_j + watts * (end_s - now_s), 0.0), battery.capacity_j)
        now_s = end_s
        if now_s >= to_s:
            break
    return charge_j


def charged_s(battery: Battery, charge_j: float, from_s: float, needed_j: float, until_s: float) -> float | None:
    """The first time from `from_s` to `until_s` at which a battery has `needed_j`; None if it never has."""
    now_s = from_s
    for change_s, watts in _rates(battery, from_s):
        if charge_j >= needed_j:
            return now_s
        end_s = min(change_s, until_s)
        if watts > 0 and needed_j <= battery.capacity_j:
            reached_s = now_s + (needed_j - charge_j) / watts
            if reached_s <= end_s:
                return reached_s
        charge_j = min(max(charge_j + watts * (end_s - now_s), 0.0), battery.capacity_j)
        now_s = end_s
        if now_s >= until_s:
            break
    return None


def computing(thermal: Thermal, heat_s: float, work_s: float) -> tuple[float, float]:
    """How long computing takes that takes `work_s` at full speed.

    Args:
        heat_s: seconds of computing that the device still has in it from before.

    Returns:
        Seconds, and the heat after it, at most `hot_after_s`.
    """
    fast_s = min(work_s, max(thermal.hot_after_s - heat_s, 0.0))
    return fast_s + (work_s - fast_s) / thermal.hot_speed, min(heat_s + work_s, thermal.hot_after_s)


def cooled(thermal: Thermal, heat_s: float, idle_s: float) -> float:
    """The heat that is left after `idle_s` seconds without computing."""
    return max(heat_s - thermal.hot_after_s * idle_s / thermal.recovery_s, 0.0)
