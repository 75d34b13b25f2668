"""A bar chart as SVG: one row a way, the bar as long as its median, a whisker from minimum to maximum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LABELS, _RIGHT = 760, 230, 70
_ROW, _BAR, _TOP = 34, 18, 40
_OURS, _THEIRS, _INK = "#2f6f4f", "#9aa5b1", "#1f2933"


@dataclass(frozen=True)
class Bar:
    """Seconds."""

    label: str
    low: float
    median: float
    high: float
    ours: bool


def chart(title: str, bars: Sequence[Bar]) -> str:
    """A whole SVG document; readable on light and dark ground."""
    longest = max(bar.high for bar in bars)
    scale = (_WIDTH - _LABELS - _RIGHT) / longest
    height = _TOP + _ROW * len(bars) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="{escape(title)}">',
        f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="#f7f9fa"/>',
        f'<text x="16" y="25" font-weight="600" fill="{_INK}">{escape(title)}</text>',
    ]
    for number, bar in enumerate(bars):
        top = _TOP + _ROW * number
        middle, end = top + _BAR / 2, _LABELS + bar.median * scale
        colour = _OURS if bar.ours else _THEIRS
        low, high = _LABELS + bar.low * scale, _LABELS + bar.high * scale
        lines += [
            f'<text x="{_LABELS - 10}" y="{middle + 4.5}" text-anchor="end" fill="{_INK}">{escape(bar.label)}</text>',
            f'<rect x="{_LABELS}" y="{top}" width="{end - _LABELS:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="{_INK}" stroke-width="1.2"/>',
            f'<text x="{max(end, high) + 8:.1f}" y="{middle + 4.5}" fill="{_INK}">{bar.median:.2f} s</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
