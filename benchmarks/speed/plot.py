"""The summary as a picture: speed against errors, and memory. An SVG written by hand: it needs no package."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from statistics import median

from benchmarks.speed.compare import Row
from benchmarks.speed.settings import SETTINGS, Setting
from benchmarks.speed.summary import Summary

_COLOURS = {
    "whisperlite": "#c0392b",
    "openai-whisper": "#2c3e50",
    "faster-whisper": "#2980b9",
    "transformers": "#d68910",
    "whisper.cpp": "#229954",
}
_WIDTH, _HEIGHT = 960, 420
_LEFT, _TOP, _SIDE = 70, 60, 300  # of the plot of points, which is as high as it is wide
_BARS_LEFT, _BARS_WIDTH = 660, 210
_MARKERS = (
    (False, "float32", "greedy, float32 or f16"),
    (False, "int8", "greedy, 8 bits or fewer"),
    (True, "float32", "beam 5, float32"),
    (True, "int8", "beam 5, 8 bits"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One library in one sequential setting: seconds of audio per second, and the share of wrong words."""

    library: str
    label: str
    speed: float
    wer: float
    is_beam: bool


def points(summary: Summary) -> list[Point]:
    """Return the points of all sequential settings; ours are from the comparison with the setting's first peer."""
    found = []
    for setting in SETTINGS:
        measured = summary["settings"].get(setting.name)
        if setting.way != "sequential" or not measured:
            continue
        first = next(iter(measured.values()))["rows"]
        found.append(_point(setting, setting.ours.name, first, "ours"))
        found += [_point(setting, name, part["rows"], "peer") for name, part in measured.items()]
    # A peer's type that takes part in two settings is shown once.
    return list({(point.library, point.label, point.is_beam): point for point in reversed(found)}.values())


def _point(setting: Setting, name: str, rows: list[Row], whose: str) -> Point:
    library, _, label = name.partition(" ")
    speed = sum(row["audio_s"] for row in rows) / sum(median(row[f"{whose}_s"]) for row in rows)
    wer = sum(row[f"{whose}_wrong"] for row in rows) / max(sum(row["words"] for row in rows), 1)
    return Point(library, label, speed, wer, is_beam=setting.beam_size > 1)


def draw(summary: Summary) -> str | None:
    """Return the picture as SVG; None if nothing in it was measured."""
    found = points(summary)
    if not found:
        return None
    memory = {name: row["above_torch_mb"] for name, row in summary.get("memory", {}).get("sides", {}).items()}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="11" fill="#333">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        *_points(found),
        *_legend(found),
        *(_bars(memory) if memory else ()),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _points(found: list[Point]) -> Iterator[str]:
    bottom = _TOP + _SIDE
    most_wer = max(math.ceil(max(point.wer for point in found) * 100 / 2) * 2, 2)
    low = math.floor(math.log2(min(point.speed for point in found)))
    high = max(math.ceil(math.log2(max(point.speed for point in found))), low + 1)
    yield _text(_LEFT + _SIDE / 2, 24, "Speed and errors (lower right is best)", anchor="middle", size=14)
    yield f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#999"/>'
    for power in range(low, high + 1):
        x = _LEFT + _SIDE * (power - low) / (high - low)
        yield f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#eee"/>'
        yield _text(x, bottom + 16, f"{2.0**power:g}", anchor="middle")
    for step in range(5):
        y = bottom - _SIDE * step / 4
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _SIDE}" y2="{y:.1f}" stroke="#eee"/>'
        yield _text(_LEFT - 6, y + 4, f"{most_wer * step / 4:g}", anchor="end")
    yield _text(_LEFT + _SIDE / 2, bottom + 36, "seconds of audio per second (sequential)", anchor="middle")
    turned = f'transform="rotate(-90 22 {_TOP + _SIDE / 2})"'
    yield f'<text x="22" y="{_TOP + _SIDE / 2}" text-anchor="middle" {turned}>wrong words, %</text>'
    for point in found:
        x = _LEFT + _SIDE * (math.log2(point.speed) - low) / (high - low)
        y = bottom - _SIDE * point.wer * 100 / most_wer
        yield _marker(x, y, point)


def _marker(x: float, y: float, point: Point) -> str:
    """Return the marker of a point: a circle if greedy, a square with beams; filled in float32; with a tooltip."""
    colour = _COLOURS[point.library]
    style = f'fill="{colour if _is_exact(point) else "#fff"}" stroke="{colour}" stroke-width="2"'
    said = f"{point.library} {point.label}, {'beam 5' if point.is_beam else 'greedy'}"
    title = f"<title>{escape(said)}: {point.speed:.1f} s of audio per second, {point.wer:.1%} wrong</title>"
    if point.is_beam:
        return f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" {style}>{title}</rect>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" {style}>{title}</circle>'


def _is_exact(point: Point) -> bool:
    return point.label in ("float32", "f16")


def _legend(found: list[Point]) -> Iterator[str]:
    x, y = _LEFT + _SIDE + 20, _TOP + 10
    for library, colour in _COLOURS.items():
        if any(point.library == library for point in found):
            yield f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>' + _text(x + 18, y, library)
            y += 20
    for is_beam, label, said in _MARKERS:
        yield _marker(x + 5, y + 6, Point("openai-whisper", label, 1.0, 0.0, is_beam)) + _text(x + 18, y + 10, said)
        y += 20


def _bars(memory: dict[str, float]) -> Iterator[str]:
    yield _text(_BARS_LEFT + _BARS_WIDTH / 2, 24, "Peak memory above import torch, MB", anchor="middle", size=14)
    most = max(*memory.values(), 1.0)
    for index, (name, value) in enumerate(memory.items()):
        y, width = _TOP + index * 48, _BARS_WIDTH * max(value, 0.0) / most
        colour = _COLOURS[name.partition(" ")[0]]
        yield _text(_BARS_LEFT, y + 10, name)
        yield f'<rect x="{_BARS_LEFT}" y="{y + 15}" width="{width:.1f}" height="16" fill="{colour}"/>'
        yield _text(_BARS_LEFT + width + 6, y + 27, f"{value:.0f}")


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
