"""Seconds → clock times, as the formats write them."""

from __future__ import annotations


def timestamp(seconds: float, *, always_hours: bool = False, decimal: str = ".") -> str:
    """Return a time as `MM:SS.mmm`, or as `HH:MM:SS.mmm` from one hour on.

    Args:
        seconds: from the beginning of the recording; negative times become 0.
        always_hours: write the hours in the first hour too, as `00:`.
        decimal: the sign between seconds and milliseconds.
    """
    minutes, milliseconds = divmod(to_milliseconds(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    clock = f"{minutes:02d}:{milliseconds // 1000:02d}{decimal}{milliseconds % 1000:03d}"
    return f"{hours:02d}:{clock}" if hours or always_hours else clock


def to_milliseconds(seconds: float) -> int:
    """Round to the nearest millisecond; negative times become 0."""
    return round(max(seconds, 0.0) * 1000)
