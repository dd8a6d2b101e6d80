"""A plot as SVG, written by hand: milliseconds over the number of cases, both axes by powers of ten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

#: Colours that can be told from a white and from a black page.
COLOURS = ("#d1495b", "#2a7fd4", "#d98324", "#2e9e6b", "#9a5fd0", "#12929e", "#b0761a", "#7a828e")
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1b2330; }
  .soft { fill: #5d6b7e; font-size: 12px; } .grid { stroke: #8793a3; stroke-opacity: .35; }
  @media (prefers-color-scheme: dark) { text { fill: #e6e9ee; } .soft { fill: #a3afbf; } }
"""
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, LABELS = 600, 430, 62, 44, 46, 256

#: A line: its panel, its name, milliseconds per size, and the power by which it grows.
Line = tuple[str, str, Sequence[float], float]


def svg(sizes: Sequence[int], lines: Sequence[Line]) -> str:
    """Return the picture: a panel per database, a line per question with its name at its end."""
    panels = list(dict.fromkeys(line[0] for line in lines))
    names = list(dict.fromkeys(line[1] for line in lines))
    values = [value for line in lines for value in line[2]]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(panels)} {HEIGHT}" role="img">',
        "<title>What questions take in ledgers of growing size</title>",
        f"<style>{_STYLE}</style>",
    ]
    for number, panel in enumerate(panels):
        ours = [(names.index(line[1]), line) for line in lines if line[0] == panel]
        parts.append(f'<g transform="translate({number * WIDTH} 0)">')
        parts += _panel(panel, sizes, ours, low, high)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    title: str, sizes: Sequence[int], lines: Sequence[tuple[int, Line]], low: int, high: int
) -> list[str]:
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])
    right, bottom = WIDTH - LABELS, HEIGHT - BOTTOM

    def x(size: float) -> float:
        return LEFT + (math.log10(size) - first) / (last - first) * (right - LEFT)

    def y(value: float) -> float:
        return bottom - (math.log10(value) - low) / (high - low) * (bottom - TOP)

    parts = [f'<text x="{LEFT}" y="24" font-weight="600">{escape(title)}</text>']
    for power in range(low, high + 1):
        at = y(10**power)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{right}"/>')
        parts.append(
            f'<text class="soft" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_time(power)}</text>'
        )
    for size in sizes:
        parts.append(f'<path class="grid" d="M{x(size):.1f} {TOP}V{bottom}"/>')
        parts.append(
            f'<text class="soft" x="{x(size):.1f}" y="{bottom + 18}" text-anchor="middle">{size:,}</text>'
        )
    parts.append(
        f'<text class="soft" x="{(LEFT + right) / 2}" y="{bottom + 36}" text-anchor="middle">cases in the ledger</text>'
    )
    places = _apart([y(line[2][-1]) for _, line in lines], 17, TOP, bottom)
    for (colour, (_, name, values, power)), place in zip(lines, places, strict=True):
        ink = COLOURS[colour % len(COLOURS)]
        points = [(x(size), y(value)) for size, value in zip(sizes, values, strict=True)]
        way = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{ink}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{ink}"/>' for a, b in points]
        lead = f"M{points[-1][0] + 4:.1f} {points[-1][1]:.1f}L{right + 14} {place:.1f}"
        parts.append(f'<path d="{lead}" stroke="{ink}" stroke-opacity=".6" fill="none"/>')
        grows = f'<tspan class="soft" dx="5">n^{round(power, 2) + 0.0:.2f}</tspan>'
        parts.append(f'<text x="{right + 19}" y="{place + 4:.1f}">{escape(name)}{grows}</text>')
    return parts


def _time(power: int) -> str:
    return f"{10 ** (power - 3):,} s" if power >= 3 else f"{10**power:g} ms"


def _apart(wanted: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Return where labels go: each as near as can be to where it belongs, `gap` away from the next one."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [0.0] * len(wanted)
    at = top - gap
    for i in order:
        at = places[i] = max(wanted[i], at + gap)
    limit = bottom + gap
    for i in reversed(order):
        limit = places[i] = min(places[i], limit - gap)
    return places
