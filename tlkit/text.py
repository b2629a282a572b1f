"""Numbers as people read them, on a page or a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DASH = "\N{EN DASH}"


def percent(value: float | None, digits: int = 1) -> str:
    """Returns such as `91.2 %`, or a dash for None."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def duration(seconds: float | None) -> str:
    """Returns such as `48 s`, `4 min 12 s` or `1 h 05 min`, or a dash for None."""
    if seconds is None:
        return DASH
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def compact(value: Any) -> str:
    """Returns a value of any setting, count or rate as short text, or a dash for None."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {compact(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(compact, value)) or "none"
    return str(value).replace("T", " ", 1) if hasattr(value, "isoformat") else str(value)


def rates(value: Any) -> str:
    """Returns one learning rate, or the range of several."""
    if not isinstance(value, list | tuple | np.ndarray) or not len(value):
        return compact(value)
    low, high = min(value), max(value)
    return compact(high) if low == high else f"{compact(low)} to {compact(high)} by depth"


def short(value: Any) -> str:
    """Returns a setting as a table shows it; what did not matter is left empty."""
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def listed(names: Sequence[str], most: int = 5, between: str = ", ") -> str:
    """Returns the first names and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(names[:most]) + more


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
