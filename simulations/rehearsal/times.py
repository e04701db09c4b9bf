"""Virtual times in words: of a long rehearsal as days and hours of the day, of a short one as minutes or seconds."""

DAY_S, HOUR_S, MINUTE_S = 86_400, 3_600, 60
SHORT_S = 2 * HOUR_S  # a rehearsal below it is told in minutes or seconds
UNITS = (
    (3 * DAY_S, DAY_S, "days", "d"),
    (SHORT_S, HOUR_S, "hours", "h"),
    (2 * MINUTE_S, MINUTE_S, "minutes", "min"),
    (0, 1, "seconds", "s"),
)  # from which length of a rehearsal, which unit


def unit_of(whole_s: float) -> tuple[float, str, str]:
    """The unit that a rehearsal of that length is told in: its seconds, its name and its sign."""
    return next((unit_s, name, sign) for least_s, unit_s, name, sign in UNITS if whole_s >= least_s)


def length_text(seconds: float, whole_s: float) -> str:
    """Seconds in the unit of a rehearsal of length `whole_s`, as "12.5 min"."""
    unit_s, _, sign = unit_of(whole_s)
    return f"{seconds / unit_s:.1f} {sign}"


def moment_text(seconds: float, whole_s: float) -> str:
    """When something is in a rehearsal of length `whole_s`: its day and time, or how long after the start."""
    return length_text(seconds, whole_s) if whole_s < SHORT_S else day_text(seconds)


def day_text(seconds: float | None) -> str:
    """Seconds since the start of a rehearsal, which is a midnight, as "day 1 03:12"; empty for None."""
    if seconds is None:
        return ""
    days, rest = divmod(int(seconds), DAY_S)
    return f"day {days + 1} {rest // HOUR_S:02d}:{rest % HOUR_S // MINUTE_S:02d}"


def hours(seconds: float | None) -> float | None:
    """Seconds as hours, to a thousandth."""
    return None if seconds is None else round(seconds / HOUR_S, 3)
