"""Virtual times in words."""

DAY_S, HOUR_S, MINUTE_S = 86_400, 3_600, 60


def day_text(seconds: float | None) -> str:
    """Seconds since the start of a rehearsal, which is a midnight, as "day 1 03:12"; empty for None."""
    if seconds is None:
        return ""
    days, rest = divmod(int(seconds), DAY_S)
    return f"day {days + 1} {rest // HOUR_S:02d}:{rest % HOUR_S // MINUTE_S:02d}"


def hours(seconds: float | None) -> float | None:
    """Seconds as hours, to a thousandth."""
    return None if seconds is None else round(seconds / HOUR_S, 3)
