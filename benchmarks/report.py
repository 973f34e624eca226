"""What a section of the run yields, and how it gets into the page: between its markers, replacing what stood there."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bar:
    """One bar of the chart."""

    name: str
    value: float
    is_ours: bool = False


@dataclass(frozen=True)
class Section:
    """The lines of one part of the page, and the bars that it has for the chart."""

    lines: Sequence[str]
    bars: Sequence[Bar] = field(default_factory=tuple)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table: the first column is text, the others are numbers."""
    head = [_line(columns), _line(["---", *["---:"] * (len(columns) - 1)])]
    return head + [_line(row) for row in rows]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def replaced(page: str, name: str, lines: Sequence[str]) -> str:
    """The page with these lines between the markers of that name."""
    begin, end = f"<!-- figures: {name} -->\n", f"<!-- end: {name} -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"the page has no place for {name}: one line {begin.strip()} and one {end}")
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    text = "".join(f"{line}\n" for line in lines)
    return pattern.sub(lambda match: match[1] + text + match[2], page)
