"""Shares, differences and p values as people read them."""

from simulations.reporting.units import NOTHING

MILLION = 10**6


def points(value: float | None, interval: float | None = None, sign: str = "") -> str:
    """A share in per cent, or with the sign "+" a difference in percentage points, and its interval."""
    if value is None:
        return NOTHING
    half = "" if interval is None else f" ± {100 * interval:.1f}"
    return f"{100 * value:{sign}.1f}{half}".replace("-", "−")


def p_text(value: float | None) -> str:
    """A p value to three digits."""
    return NOTHING if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
