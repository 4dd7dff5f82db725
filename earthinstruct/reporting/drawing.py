"""Draw charts as SVG. Every text is escaped; colours are classes of the page's style sheet."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 420  # units; on a phone, a unit is about 0.86 pixels
MOST_ROWS = 60  # of bars
_LETTER, _LINE = 7.0, 16  # units: the mean width of a letter, and the height of a line
_CLOSEST = 11  # units between the names of ticks
_LONGEST_NAME = 24  # letters beside a bar or a cell
_TICKS = 5  # at most, besides the first
_NARROWEST = 1e-12  # of an axis
_TOP, _RIGHT, _BOTTOM = 12, 14, 38  # margins around a plane
_HEIGHT = 230  # of a plane
_ROUND_COUNTS = tuple(factor * 10**power for power in range(7) for factor in (1, 2, 5))


@dataclass(frozen=True)
class Bar:
    """A bar from 0 to `value`, with an optional interval."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Axis:
    """An axis of a plane.

    Attributes:
        title: what it shows, with the unit.
        ticks: the values that are named, in increasing order; the first and the last are its ends.
        scale: a growing function; equal steps on the axis are equal steps of its values.
        names: the names of the ticks; empty: their numbers.
    """

    title: str
    ticks: tuple[float, ...]
    scale: Callable[[float], float] = float
    names: tuple[str, ...] = ()

    def place(self, value: float) -> float:
        """The place of a value: 0 at the first tick, 1 at the last."""
        low, high = self.scale(self.ticks[0]), self.scale(self.ticks[-1])
        return (self.scale(value) - low) / (high - low)


@dataclass(frozen=True)
class Series:
    """Points of a plane, joined by a line or drawn as dots.

    Attributes:
        colour: a class of the style sheet.
        points: (across, up).
        dot: the diameter of the dots in units; None: a line.
        name: its name in the legend; empty: it has none.
        intervals: (low, high) of each point, or None; empty: of none.
    """

    colour: str
    points: Sequence[tuple[float, float]]
    dot: float | None = None
    name: str = ""
    intervals: Sequence[tuple[float, float] | None] = ()


def bars(
    rows: Sequence[tuple[str, Sequence[Bar | None]]],
    series: Sequence[tuple[str, str]],
    *,
    unit: str = "percent",
    ticks: Sequence[float] = (0, 20, 40, 60, 80, 100),
    stacked: bool = False,
) -> str:
    """Horizontal bars from 0; at most `MOST_ROWS` rows are drawn.

    Args:
        rows: a name, and for each series a bar or None.
        series: the name and the colour of each.
        unit: the title of the axis.
        ticks: the named values of the axis; the last is its end.
        stacked: the bars of a row follow each other; otherwise each has a line of its own.
    """
    rows = rows[:MOST_ROWS]
    legend, top = _legend(series)
    thick = 14.0 if stacked or len(series) == 1 else 8.0
    lane = thick + 6 if stacked else thick * len(series) + 6
    left = 8 + _LETTER * max((min(_letters(name), _LONGEST_NAME) for name, _ in rows), default=0)
    span, most, low = WIDTH - left - _RIGHT, ticks[-1], top + lane * len(rows)
    parts = [legend, _grid(f"M{left + span * tick / most:.1f},{top}V{low:.1f}" for tick in ticks)]
    for i, (name, values) in enumerate(rows):
        y, before = top + lane * i + 3, 0.0
        parts.append(_text(left - 6, y + (lane - 6) / 2 + 4, _short(name), "end"))
        for (what, colour), bar in zip(series, values, strict=True):
            if bar is not None:
                x = left + span * before / most
                said = escape(f"{name}, {what}: {bar.value:.1f}")
                parts.append(
                    f'<rect class="bar {colour}" x="{x:.1f}" y="{y:.1f}" width="{span * bar.value / most:.1f}" '
                    f'height="{thick:g}"><title>{said}</title></rect>'
                )
                if bar.interval is not None:
                    parts.append(_interval([left + span * end / most for end in bar.interval], y + thick / 2))
                before += bar.value if stacked else 0
            y += 0 if stacked else thick
    parts += [_text(left + span * tick / most, low + 14, f"{tick:g}") for tick in ticks]
    parts.append(_text(left + span / 2, low + 30, unit))
    return _svg(WIDTH, low + 38, parts)


def plane(across: Axis, up: Axis, series: Sequence[Series]) -> str:
    """Lines and dots over two axes."""
    legend, top = _legend([(one.name, one.colour) for one in series if one.name])
    top += _TOP + _LINE  # the title of the axis that goes up
    left = 10 + _LETTER * max(len(f"{tick:g}") for tick in up.ticks)
    width, height = WIDTH - left - _RIGHT, _HEIGHT
    low = top + height

    def x(value: float) -> float:
        return left + width * across.place(value)

    def y(value: float) -> float:
        return low - height * up.place(value)

    lines = [*(f"M{left:.1f},{y(tick):.1f}h{width:.1f}" for tick in up.ticks)]
    lines += [f"M{x(tick):.1f},{top:.1f}v{height}" for tick in across.ticks]
    parts = [legend, _text(0, top - 10, up.title, "start"), _grid(lines)]
    for one in series:
        places = [(f"{x(a):.1f}", f"{y(b):.1f}") for a, b in one.points]
        if one.dot is not None:  # points on the same place are drawn once
            path = "".join(f"M{a},{b}h0" for a, b in dict.fromkeys(places))
            parts.append(f'<path class="dots {one.colour}" stroke-width="{one.dot:g}" d="{path}"/>')
        elif places:
            path = "M" + " ".join(f"{a},{b}" for a, b in places)
            parts.append(f'<path class="series {one.colour}" d="{path}"/>')
        known = [(x(a), of) for (a, _), of in zip(one.points, one.intervals, strict=False) if of is not None]
        if known:
            ends = ((at, y(low), y(high)) for at, (low, high) in known)
            path = "".join(
                f"M{at - 3:.1f},{b:.1f}h6M{at:.1f},{b:.1f}V{t:.1f}M{at - 3:.1f},{t:.1f}h6" for at, b, t in ends
            )
            parts.append(f'<path class="whiskers {one.colour}" d="{path}"/>')
    named: list[float] = []
    for tick in sorted(up.ticks, key=abs):  # 0 has its name, whatever stands close to it
        if all(abs(y(tick) - y(other)) >= _CLOSEST for other in named):
            named.append(tick)
            parts.append(_text(left - 5, y(tick) + 4, f"{tick:g}", "end"))
    names = across.names or [f"{tick:g}" for tick in across.ticks]
    parts += [_text(x(tick), low + 15, name) for tick, name in zip(across.ticks, names, strict=True)]
    parts.append(_text(left + width / 2, low + 31, across.title))
    return _svg(WIDTH, low + _BOTTOM, parts)


def cells(
    rows: Sequence[tuple[str, Sequence[tuple[int, float]]]], columns: Sequence[str], titles: tuple[str, str]
) -> str:
    """A table of numbers whose cells are the darker the larger their share.

    Args:
        rows: a name, and for each column a number and its share in [0, 1].
        columns: their names; where row and column have one name, the colour is another.
        titles: what the rows and the columns are.
    """
    left = 8 + _LETTER * max(min(_letters(name), _LONGEST_NAME) for name, _ in rows)
    top = 2 * _LINE + _LETTER * max(min(_letters(name), _LONGEST_NAME) for name in columns)
    wide = 12 + 7 * max(len(str(number)) for _, values in rows for number, _ in values)
    high = 21
    parts = [_text(0, 12, f"{titles[0]} (rows), {titles[1]} (columns)", "start")]
    for i, name in enumerate(columns):
        at = f"{left + wide * (i + 0.5) + 4:.1f} {top - 6:.1f}"
        parts.append(f'<text transform="translate({at}) rotate(-90)">{escape(_short(name))}</text>')
    for i, (name, values) in enumerate(rows):
        y = top + high * i
        parts.append(_text(left - 6, y + 15, _short(name), "end"))
        for j, (column, (number, share)) in enumerate(zip(columns, values, strict=True)):
            x, colour = left + wide * j, "same" if name == column else "other-cell"
            if number:
                said = escape(f"{name}, {column}: {number} ({100 * share:.0f} %)")
                parts.append(
                    f'<rect class="cell {colour}" x="{x:.1f}" y="{y:.1f}" width="{wide - 1}" height="{high - 1}" '
                    f'fill-opacity="{0.12 + 0.58 * share:.2f}"><title>{said}</title></rect>'
                )
                parts.append(_text(x + (wide - 1) / 2, y + 15, str(number), css="number"))
    return _svg(max(WIDTH, left + wide * len(columns) + 2), top + high * len(rows) + 2, parts)


def sparkline(value: float, interval: tuple[float, float] | None) -> str:
    """A fraction and its interval on a line from 0 to 1, for a cell of a table."""
    shown = [] if interval is None else [_interval([2 + 96 * end for end in interval], 7)]
    parts = ['<path class="grid" d="M2,7H98M2,3v8M98,3v8"/>', *shown]
    parts.append(f'<circle class="c0 bar" cx="{2 + 96 * value:.1f}" cy="7" r="3.5"/>')
    return f'<svg class="sparkline" viewBox="0 0 100 14" aria-hidden="true">{"".join(parts)}</svg>'


def ticks(least: float, most: float) -> tuple[float, ...]:
    """Choose round numbers in equal steps that cover `least` to `most`.

    >>> ticks(0, 37), ticks(0.5, 0.95)
    ((0.0, 10.0, 20.0, 30.0, 40.0), (0.5, 0.6, 0.7, 0.8, 0.9, 1.0))
    """
    span = next(span for span in (most - least, abs(most), 1.0) if span > _NARROWEST)
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span <= _TICKS * power * factor * (1 + 1e-9))
    first, last = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    return tuple(float(f"{number * step:.12g}") for number in range(first, max(last, first + 1) + 1))


def count_axis(title: str, least: int, most: int) -> Axis:
    """An axis of counts, logarithmic: 0, 1, 2, 5, 10, 20, ... and the same below 0. Its title says so.

    >>> count_axis("objects", -3, 12).ticks
    (-5, -2, -1, 0, 1, 2, 5, 10, 20)
    """

    def up_to(most: int) -> list[int]:
        return [one for before, one in zip((0, *_ROUND_COUNTS), _ROUND_COUNTS, strict=False) if before < most]

    below = [-one for one in reversed(up_to(-least))]
    return Axis(f"{title} (logarithmic)", (*below, 0, *(up_to(most) or [1])), _signed_log)


def _signed_log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


def _svg(width: float, height: float, parts: Iterable[str]) -> str:
    """The width is kept as a variable: a picture that is wider than the page scrolls."""
    body = "".join(parts)
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="--width:{width:.0f}px" aria-hidden="true">{body}</svg>'


def _legend(series: Sequence[tuple[str, str]]) -> tuple[str, float]:
    """The legend, in as many lines as it needs, and the place below it."""
    if not series:
        return "", 4
    parts, x, y = [], 0.0, 12.0
    for name, colour in series:
        wide = 26 + _LETTER * _letters(name)
        if x + wide > WIDTH and x:
            x, y = 0.0, y + _LINE
        parts.append(f'<rect class="bar {colour}" x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2"/>')
        parts.append(_text(x + 15, y, name, "start"))
        x += wide
    return "".join(parts), y + 8


def _grid(lines: Iterable[str]) -> str:
    return f'<path class="grid" d="{"".join(lines)}"/>'


def _interval(ends: Sequence[float], y: float) -> str:
    low, high = (f"{end:.1f}" for end in ends)
    return f'<path class="interval" d="M{low},{y - 3:.1f}v6M{low},{y:.1f}H{high}M{high},{y - 3:.1f}v6"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", css: str = "") -> str:
    name = f' class="{css}"' if css else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _letters(text: str) -> int:
    """The width of a text in letters; East Asian characters are as wide as two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _short(name: str) -> str:
    if _letters(name) <= _LONGEST_NAME:
        return name
    kept = name[:_LONGEST_NAME]
    while _letters(kept) >= _LONGEST_NAME:
        kept = kept[:-1]
    return f"{kept}…"
