"""Charts and maps as inline SVG for the page: text stays text, colours are the style sheet's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from recsys import plots
from recsys.experiments.report.charts import Chart, Series
from recsys.experiments.report.maps import SIZE, ItemMap

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 10, 40
SHAPES, PATTERNS = len(plots.MARKERS), len(plots.DASHES)
SPREAD = 0.5
"""Share of the room between two names that the dots above a name are spread over."""
LETTER = 6.1
"""Width of a letter of the labels, for keeping them apart."""


def mark(shape: int, x: float, y: float, r: float = 4.0) -> str:
    """Path data of one mark: circle, square, triangle, diamond, cross, triangle down, plus, ring."""
    x, y, d, e = round(x, 1), round(y, 1), round(r * 0.9, 1), round(r * 1.2, 1)
    return (
        f"M{x - r:.1f} {y}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{x - d:.1f} {y - d:.1f}h{2 * d}v{2 * d}h{-2 * d}z",
        f"M{x} {y - r:.1f}l{r} {1.8 * r:.1f}h{-2 * r}z",
        f"M{x} {y - e:.1f}l{e} {e}l{-e} {e}l{-e} {-e}z",
        f"M{x - d:.1f} {y - d:.1f}l{2 * d} {2 * d}m0 {-2 * d}l{-2 * d} {2 * d}",
        f"M{x} {y + r:.1f}l{r} {-1.8 * r:.1f}h{-2 * r}z",
        f"M{x - r:.1f} {y}h{2 * r}M{x} {y - r:.1f}v{2 * r}",
        f"M{x - d:.1f} {y}a{d} {d} 0 1 0 {2 * d} 0a{d} {d} 0 1 0 {-2 * d} 0z",
    )[shape % SHAPES]


class Axis:
    """Where values of one axis stand, and its ticks."""

    def __init__(
        self, low: float, high: float, start: float, end: float, log: bool = False, whole: bool = False
    ):
        self.log, self.whole = log, whole
        if log:
            low, high = math.log10(low), math.log10(high)
        if high - low < 1e-12:
            low, high = (low - 0.5, high + 0.5) if log or low else (0.0, 1.0)
        pad = 0.06 * (high - low)
        self.low, self.high, self.start, self.end = low - pad, high + pad, start, end

    def __call__(self, value: float) -> float:
        value = math.log10(value) if self.log else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Value and text of each tick."""
        if not self.log:
            values = _round_values(self.low, self.high, 1.0 if self.whole else 0.0)
            return [(value, f"{value:.10g}") for value in values]
        ticks = []
        for power in range(math.floor(self.low), math.ceil(self.high) + 1):
            for times in (1, 2, 5):
                value = times * 10.0**power
                if self.low <= math.log10(value) <= self.high:
                    ticks.append((value, f"{value:,.10g}"))
        powers = [tick for tick in ticks if math.log10(tick[0]) == round(math.log10(tick[0]))]
        return ticks if len(ticks) <= 6 else powers


def _round_values(low: float, high: float, least: float = 0.0) -> list[float]:
    """About five round numbers from `low` to `high`, at least `least` apart."""
    rough = max((high - low) / 5, least)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = (1, 2, 5, 10) if least else (1, 2, 2.5, 5, 10)
    step = next(times * power for times in steps if times * power >= rough)
    first = math.ceil(low / step)
    return [round(n * step, 12) for n in range(first, math.floor(high / step) + 1)]


def draw(chart: Chart, ident: str) -> Markup:
    """The chart; a screen reader hears its title, and the page has its figures as a table."""
    x, y = axes_of(chart)
    parts = [_frame(chart, x, y)]
    parts.append({"points": _points, "lines": _lines, "dots": _dots}[chart.kind](chart, x, y))
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{escape(ident)}">'
        f'<title id="{escape(ident)}">{escape(chart.title)}: {escape(chart.y_label)} by {escape(chart.x_label)}'
        f"</title>{''.join(parts)}</svg>"
    )


def axes_of(chart: Chart) -> tuple[Axis, Axis]:
    """The scales of x and y, in the drawing's units."""
    xs = [v for s in chart.series for v in s.x]
    ys = [v for s in chart.series for values in (s.y, s.low, s.high) for v in values]
    if chart.x_names:
        room = 0.5 if chart.kind == "dots" else 0.2
        xs = [-room, len(chart.x_names) - 1 + room]
    low = 0.0 if chart.x_names else min(ys)
    return (
        Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, chart.x_log, chart.x_whole),
        Axis(min(low, max(ys)), max(ys), HEIGHT - BOTTOM, TOP),
    )


def _frame(chart: Chart, x: Axis, y: Axis) -> str:
    """Grid, ticks and the axes' names."""
    parts = []
    for value, text in y.ticks():
        at = round(y(value), 1)
        parts.append(f'<path class="grid" d="M{LEFT} {at}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{at + 3.5:.1f}" text-anchor="end">{text}</text>')
    named = [(float(n), name) for n, name in enumerate(chart.x_names)]
    for value, text in named or x.ticks():
        at = round(x(value), 1)
        parts.append(f'<path class="tick" d="M{at} {HEIGHT - BOTTOM}v4"/>')
        parts.append(
            f'<text x="{at}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{escape(_short(text))}</text>'
        )
    base = f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    names = f'<text class="name" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.x_label)}</text>'
    up = (TOP + HEIGHT - BOTTOM) / 2
    names += (
        f'<text class="name" transform="translate(10 {up}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.y_label)}</text>"
    )
    return "".join(parts) + base + names


def _short(text: str, most: int = 18) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _points(chart: Chart, x: Axis, y: Axis) -> str:
    parts = []
    for one in chart.series:
        at = x(one.x[0]), y(one.y[0])
        if one.low:
            parts.append(f'<path class="bar" d="M{at[0]:.1f} {y(one.low[0]):.1f}V{y(one.high[0]):.1f}"/>')
        title = f"{one.name}: {one.y[0]:.4f} at {one.x[0]:.4g}"
        parts.append(f'<path class="dot" d="{mark(0, *at)}"><title>{escape(title)}</title></path>')
    for label in labels(chart, x, y):
        if label.leader:
            (a, b), (c, d) = label.leader
            parts.append(f'<path class="leader" d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}"/>')
        place = f'x="{label.x:.1f}" y="{label.y:.1f}" text-anchor="{label.anchor}"'
        parts.append(f'<text class="label" {place}>{escape(label.text)}</text>')
    return "".join(parts)


class Label(NamedTuple):
    """A point's name, where its text begins (anchor "start") or ends ("end"), and a line to the point if far."""

    text: str
    x: float
    y: float
    anchor: str
    leader: tuple[tuple[float, float], tuple[float, float]] | None


def labels(chart: Chart, x: Axis, y: Axis) -> list[Label]:
    """Each point's name at the first place where it covers nothing; a name without such a place is left out."""
    points = [(x(one.x[0]), y(one.y[0])) for one in chart.series]
    boxes = [(a - 5, b - 5, a + 5, b + 5) for a, b in points]
    placed = (_label(_short(one.name), *at, boxes) for one, at in zip(chart.series, points, strict=True))
    return [label for label in placed if label is not None]


def _label(text: str, x: float, y: float, boxes: list[tuple[float, float, float, float]]) -> Label | None:
    width = LETTER * len(text)
    offsets = [(7, 3.5), (7, -6), (7, 13), *((9, dy) for dy in (-18, 24, -30, 36, -42, 48))]
    for dx, dy in offsets:
        for side, anchor in ((1, "start"), (-1, "end")):
            left = x + dx if side > 0 else x - dx - width
            box = left, y + dy - 9, left + width, y + dy + 2
            inside = box[0] > LEFT and box[2] < WIDTH - 1 and box[1] > 0 and box[3] < HEIGHT - BOTTOM
            if inside and not any(_overlap(box, other) for other in boxes):
                boxes.append(box)
                end = x + side * dx, y + dy
                leader = ((x, y), (end[0], end[1] - 3.5)) if abs(dy) > 15 else None
                return Label(text, *end, anchor, leader)
    return None


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _lines(chart: Chart, x: Axis, y: Axis) -> str:
    return "".join(_line(n, one, x, y) for n, one in enumerate(chart.series))


def shifted(chart: Chart, number: int) -> tuple[float, ...]:
    """Where the dots of a series stand: those above one name beside each other."""
    step = SPREAD / max(1, len(chart.series) - 1)
    shift = (number - (len(chart.series) - 1) / 2) * step if len(chart.series) > 1 else 0.0
    return tuple(place + shift for place in chart.series[number].x)


def _dots(chart: Chart, x: Axis, y: Axis) -> str:
    parts = []
    for number, one in enumerate(chart.series):
        places = [(x(a), y(b)) for a, b in zip(shifted(chart, number), one.y, strict=True)]
        ends = zip(places, one.low, one.high, strict=True) if one.low else ()
        bars = "".join(f"M{a:.1f} {y(low):.1f}V{y(high):.1f}" for (a, _), low, high in ends)
        marks = "".join(mark(number, *place, 3.2) for place in places)
        parts.append(
            f'<g class="s{number % SHAPES}"><title>{escape(one.name)}</title><path class="bar" d="{bars}"/>'
            f'<path class="mark shape{number % SHAPES}" d="{marks}"/></g>'
        )
    return "".join(parts)


def dash(number: int) -> int:
    """The pattern of the line of a series; with the mark, the first 32 differ."""
    return (number + number // SHAPES) % PATTERNS


def _line(number: int, one: Series, x: Axis, y: Axis) -> str:
    places = [(x(a), y(b)) for a, b in zip(one.x, one.y, strict=True)]
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
    line = f'<path class="line dash{dash(number)}" d="{path}"/>'
    step = max(1, math.ceil(len(places) / 6))
    marks = "".join(mark(number, *place, 3.2) for place in places[number % step :: step])
    return (
        f'<g class="s{number % SHAPES}"><title>{escape(one.name)}</title>{line}'
        f'<path class="mark shape{number % SHAPES}" d="{marks}"/></g>'
    )


def swatch(number: int, line: bool = True) -> Markup:
    """What stands for a series in a legend."""
    path = f'<path class="line dash{dash(number)}" d="M0 6h26"/>' if line else ""
    return Markup(
        f'<svg class="swatch s{number % SHAPES}" viewBox="0 0 26 12" width="26" height="12" aria-hidden="true">'
        f'{path}<path class="mark shape{number % SHAPES}" d="{mark(number, 13, 6, 4)}"/></svg>'
    )


def draw_map(drawn: ItemMap, ident: str) -> Markup:
    """The map: one path a category, each with a mark of its own, and a ring for the item that is named."""
    edge, size = 8, 500
    scale = (size - 2 * edge) / SIZE
    paths = []
    for number, name in enumerate(drawn.kinds):
        places = drawn.places[drawn.kind == number] * scale + edge
        marks = "".join(mark(number, x, y, 3.4) for x, y in np.round(places, 1).tolist())
        paths.append(
            f'<path class="s{number % SHAPES} mark shape{number % SHAPES}" data-kind="{number}" d="{marks}">'
            f"<title>{escape(name)}</title></path>"
        )
    return Markup(
        f'<svg class="map" viewBox="0 0 {size} {size}" role="img" aria-labelledby="{escape(ident)}">'
        f'<title id="{escape(ident)}">Map of {len(drawn.items)} items by the vectors of {escape(drawn.model)}, '
        f"by {escape(drawn.by)}</title>{''.join(paths)}"
        '<circle class="here" r="8"/></svg>'
    )
