"""Figure 1 as a table for each device, and as flat records for CSV and JSON."""

from collections.abc import Callable, Sequence
from typing import Any

from simulations.reporting.sections import Section
from simulations.reporting.units import NOTHING, bytes_text, change_text, figure_text, percent_text
from simulations.studies import published
from simulations.studies.figure1 import SECONDS, Row
from simulations.studies.figure1_model import swaps
from tinytrain_core.devices.profile import DeviceProfile, device_profile
from tinytrain_core.fewshot.example_tasks import SUPPORT, WAYS
from tinytrain_core.selection.cost import MIB

TITLE = "Figure 1: time and energy of a personalisation"
LEAD = (
    "Model: 2000 passes with the memory and the MACs of the paper's Table 2, at the device's rate and power. Engine: "
    f"this project's own, with the plan that the device affords for {SUPPORT} images of {WAYS} classes, selection "
    "included; its MACs as they are executed and its live memory. Both are estimates: no such device took part."
)
TOO_LARGE = "does not fit"
NO_SWAP = "A device of this class has no swap: what does not fit its memory cannot be trained on it."
SWAPS = "What does not fit the memory is swapped, by the model only: the engine takes what fits."
CARRIED_OVER = " Seconds per MiB, and how far the power falls in a run that swaps, are those of the Pi Zero 2 W."


def _number(value: float | None, absent: str = NOTHING) -> str:
    return absent if value is None else figure_text(value)


def _error(value: float | None) -> str:
    return NOTHING if value is None else change_text(value)


def _budget(row: Row) -> str:
    return bytes_text(row.usable_mib * MIB)


def _swapping(row: Row) -> str:
    if row.model is None or not row.model.swapping_s:
        return NOTHING
    return percent_text(row.model.swapping_s / row.model.seconds)


def _printed(row: Row, name: str) -> str:
    return NOTHING if row.digitised is None else f"{getattr(row.digitised, name):g}"


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("backbone", lambda r: r.backbone),
    ("method", lambda r: published.title(r.method)),
    ("needs,\nTable 2", lambda r: f"{r.needed_mib:g} MiB of {_budget(r)}"),
    ("minutes,\nmodel", lambda r: _number(r.minutes, TOO_LARGE)),
    ("of them\nswapping", _swapping),
    ("minutes,\nFigure 1", lambda r: _printed(r, "minutes")),
    ("minutes,\nerror", lambda r: _error(r.time_error)),
    ("kJ,\nmodel", lambda r: _number(r.kilojoules)),
    ("kJ,\nFigure 1", lambda r: _printed(r, "kilojoules")),
    ("kJ,\nerror", lambda r: _error(r.energy_error)),
    ("needs,\nengine", lambda r: f"{bytes_text(r.own.memory_mib * MIB)} of {_budget(r)}"),
    ("minutes,\nengine", lambda r: _number(r.own.minutes, TOO_LARGE)),
    ("kJ,\nengine", lambda r: _number(r.own.kilojoules)),
    ("weights\nupdated", lambda r: f"{r.own.weights:,}" if r.own.weights else NOTHING),
)


def _worst(rows: Sequence[Row]) -> str:
    """How far the model is from the paper's figure, at most."""
    times = [abs(row.time_error) for row in rows if row.time_error is not None]
    energies = [abs(row.energy_error) for row in rows if row.energy_error is not None]
    return f"Largest error of the model: {100 * max(times):.1f} % in time, {100 * max(energies):.1f} % in energy."


def _notes(profile: DeviceProfile, rows: Sequence[Row]) -> tuple[str, ...]:
    if not swaps(profile):
        return (NO_SWAP,)
    if profile.name != published.latency_model().device:
        return (SWAPS + CARRIED_OVER,)
    return (_worst(rows), SWAPS) if any(row.digitised for row in rows) else (SWAPS,)


def section(device: str, rows: Sequence[Row], plots: Sequence[str] = ()) -> Section:
    """One device; columns that say nothing of it are left out."""
    profile = device_profile(device)
    shown = [(name, of) for name, of in COLUMNS if any(of(row) != NOTHING for row in rows)]
    return Section(
        f"Figure 1, {profile.title}: {bytes_text(profile.memory_bytes)} for training",
        [name for name, _ in shown],
        [[of(row) for _, of in shown] for row in rows],
        notes=_notes(profile, rows),
        caption=f"{profile.macs_per_s.value / 1e6:g} M MACs a second, {profile.active_w.value:g} W.",
        plots=plots,
    )


def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One flat record for each row; what does not fit, or is not in the paper, is None."""
    return [
        {
            "device": row.device,
            "backbone": row.backbone,
            "method": row.method,
            "usable_mib": row.usable_mib,
            "needed_mib": row.needed_mib,
            "fits": row.model is not None,
            "minutes": row.minutes,
            "swapping_minutes": row.model.swapping_s / SECONDS if row.model else None,
            "kilojoules": row.kilojoules,
            "paper_minutes": row.digitised.minutes if row.digitised else None,
            "paper_kilojoules": row.digitised.kilojoules if row.digitised else None,
            "time_error": row.time_error,
            "energy_error": row.energy_error,
            "engine_needed_mib": row.own.memory_mib,
            "engine_fits": row.own.cost is not None,
            "engine_minutes": row.own.minutes,
            "engine_kilojoules": row.own.kilojoules,
            "engine_weights": row.own.weights,
            "engine_images_alive": row.own.alive,
        }
        for row in rows
    ]
