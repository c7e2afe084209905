"""Seconds → the clock times of the formats."""

from __future__ import annotations


def timestamp(seconds: float, *, always_hours: bool = False, decimal: str = ".") -> str:
    """`MM:SS.mmm`, from an hour on `HH:MM:SS.mmm`.

    Args:
        seconds: from the beginning of the recording; what is before it becomes its beginning.
        always_hours: write `00:` for the first hour too.
        decimal: between seconds and milliseconds.
    """
    minutes, milliseconds = divmod(to_milliseconds(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    clock = f"{minutes:02d}:{milliseconds // 1000:02d}{decimal}{milliseconds % 1000:03d}"
    return f"{hours:02d}:{clock}" if hours or always_hours else clock


def to_milliseconds(seconds: float) -> int:
    """The nearest millisecond, 0 for what is before the recording."""
    return round(max(seconds, 0.0) * 1000)
