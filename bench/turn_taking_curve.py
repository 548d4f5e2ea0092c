"""The operating curve as an SVG: the share of pauses cut into, against the wait for a turn's end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 28, 56
_WAIT_MS = 1400.0
_PERCENT = 100.0
_COLOURS = ("#1f6feb", "#8250df", "#57606a")

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #57606a }
  .grid { stroke: #8b949e; stroke-opacity: .25 }
  .curve { fill: none; stroke-width: 2.5 }
  .aim { fill: #2da44e; fill-opacity: .12 }
  .label { font-size: 12px }
"""


@dataclass(frozen=True, slots=True)
class Point:
    """One setting.

    Attributes:
        label: stands beside it.
        wait_ms: the median wait.
        percent: of the pauses that were cut into.
    """

    label: str
    wait_ms: float
    percent: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The settings of one system.

    Attributes:
        name: of the system.
        points: along its setting; one is a dot.
        shipped: the label of the point that is the default.
    """

    name: str
    points: tuple[Point, ...]
    shipped: str | None = None


def write_curve(path: Path, curves: Sequence[Curve], *, aim_ms: float, aim_percent: float) -> None:
    """Draws the curves, and the corner that is aimed at."""
    path.write_text(svg(curves, aim_ms=aim_ms, aim_percent=aim_percent))


def svg(curves: Sequence[Curve], *, aim_ms: float, aim_percent: float) -> str:
    """The picture. What lies beyond its edge is drawn on it."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>False cut-ins against the wait for a turn's end</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="aim" x="{_x(0):.1f}" y="{_y(aim_percent):.1f}" width="{_x(aim_ms) - _x(0):.1f}" '
        f'height="{_y(0) - _y(aim_percent):.1f}"/>',
        *_axes(),
    ]
    for curve, colour in zip(curves, _COLOURS, strict=False):
        parts += _drawn(curve, colour)
    return "\n".join([*parts, "</svg>", ""])


def _x(wait_ms: float) -> float:
    return _LEFT + min(1.0, max(0.0, wait_ms / _WAIT_MS)) * (WIDTH - _LEFT - _RIGHT)


def _y(percent: float) -> float:
    return HEIGHT - _BOTTOM - min(1.0, max(0.0, percent / _PERCENT)) * (HEIGHT - _TOP - _BOTTOM)


def _axes() -> list[str]:
    parts = []
    for wait_ms in range(0, round(_WAIT_MS) + 1, 200):
        x = _x(wait_ms)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 20}" text-anchor="middle">{wait_ms}</text>')
    for percent in range(0, round(_PERCENT) + 1, 20):
        y = _y(percent)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    below = "median wait from the end of speech (ms)"
    parts.append(f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">{below}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_TOP - 10}">pauses of 0.3 s and longer that were cut into</text>')
    return parts


def _drawn(curve: Curve, colour: str) -> list[str]:
    places = [(_x(point.wait_ms), _y(point.percent)) for point in curve.points]
    parts = []
    if len(places) > 1:
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path class="curve" stroke="{colour}" d="M{line}"/>')
    for (x, y), point in zip(places, curve.points, strict=True):
        is_shipped = point.label == curve.shipped
        radius = 6 if is_shipped else 3.5
        label, below = (f"{point.label} (default)", 20) if is_shipped else (point.label, -7)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')
        parts.append(f'<text class="label" x="{x + 6:.1f}" y="{y + below:.1f}">{escape(label)}</text>')
    x, y = places[0]
    style = f"fill:{colour};font-weight:600"
    name = escape(curve.name)
    parts.append(f'<text x="{x - 10:.1f}" y="{y + 4:.1f}" text-anchor="end" style="{style}">{name}</text>')
    return parts
