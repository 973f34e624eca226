"""The chart of docs/performance.md: horizontal bars as SVG, written by hand, readable on light and dark pages."""

from collections.abc import Sequence
from html import escape

from benchmarks.report import Bar

_WIDTH, _LABELS, _ROW, _TOP, _BOTTOM = 760, 250, 34, 62, 44
_INK, _FAINT, _OURS, _OTHERS = "#1f2933", "#616e7c", "#1d6fb8", "#b8c4d0"
_ROOM = _WIDTH - _LABELS - 170  # for the longest bar; its figure stands to the right


def bars(rows: Sequence[Bar], *, title: str, note: str, unit: str, reference: str) -> str:
    """One bar for each row, cheapest first; figures with their ratio to the row named `reference`."""
    base = next(row.value for row in rows if row.name == reference)
    longest = max(row.value for row in rows)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    lines = [
        _opening(height, _spoken(rows, title, unit)),
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        _text(24, 34, title, size=17, weight=600),
    ]
    for number, row in enumerate(sorted(rows, key=lambda row: row.value)):
        lines += _row(row, _TOP + _ROW * number, longest, f"{row.value:.1f} {unit}, {row.value / base:.2f} x")
    lines += [_text(24, height - 18, note, size=12, colour=_FAINT), "</svg>"]
    return "\n".join(lines) + "\n"


def _row(row: Bar, y: int, longest: float, figure: str) -> list[str]:
    width = max(2.0, row.value / longest * _ROOM)
    weight = 600 if row.is_ours else 400
    return [
        _text(_LABELS - 12, y + 19, row.name, anchor="end", weight=weight),
        _bar(y, width, _OURS if row.is_ours else _OTHERS),
        _text(_LABELS + width + 10, y + 19, figure, weight=weight),
    ]


def _opening(height: int, spoken: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(spoken)}"'
        ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
    )


def _bar(y: int, width: float, colour: str) -> str:
    return f'<rect x="{_LABELS}" y="{y + 4}" width="{width:.1f}" height="22" rx="3" fill="{colour}"/>'


def _text(
    x: float, y: float, text: str, *, size: int = 14, weight: int = 400, colour: str = _INK, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}"'
        f' text-anchor="{anchor}">{escape(text)}</text>'
    )


def _spoken(rows: Sequence[Bar], title: str, unit: str) -> str:
    """What a screen reader says."""
    return f"{title}: " + ", ".join(f"{row.name} {row.value:.1f} {unit}" for row in rows)
