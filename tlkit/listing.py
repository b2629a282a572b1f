"""Rows of values as an aligned text table."""

from collections.abc import Mapping, Sequence
from typing import Any


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns `rows` under their keys: numbers with separators to the right, text to the left."""
    if not rows:
        return ""
    header = list(rows[0])
    cells = [[_cell(row.get(name)) for name in header] for row in rows]
    widths = [max(len(line[i]) for line in [header, *cells]) for i in range(len(header))]
    right = [any(_is_number(row.get(name)) for row in rows) for name in header]
    lines = [_line(header, widths, right), *(_line(line, widths, right) for line in cells)]
    return "\n".join(lines)


def _line(cells, widths, right) -> str:
    parts = zip(cells, widths, right, strict=True)
    return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in parts).rstrip()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and value > 9999:
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        return "x".join(str(part) for part in value)
    return str(value)
