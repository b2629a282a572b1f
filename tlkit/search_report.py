"""One HTML file about a search: no network, no scripts, every picture inside."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from tlkit import files, finalists, plots, search_plots
from tlkit.space import Space

if TYPE_CHECKING:
    from tlkit.searching import SearchResult

TEMPLATES = Path(__file__).parent / "templates"


def write(folder: Path, found: "SearchResult", space: Space) -> Path:
    """Writes `report.html` into a study's folder and returns its path."""
    path = folder / "report.html"
    files.write_text(path, render(found, space))
    return path


def render(found: "SearchResult", space: Space) -> str:
    """Returns the page as HTML."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["short"] = short
    return environment.get_template("search.html").render(_context(found, space))


def _context(found: "SearchResult", space: Space) -> dict[str, Any]:
    matter = search_plots.importances(found.trials, space)
    figures = {
        "progress": search_plots.progress(found.trials),
        "curves": search_plots.curves(found.trials),
        "parallel": search_plots.parallel(found.trials, space),
    }
    if matter["rows"]:
        figures["importance"] = search_plots.importance(matter)
    return {
        "style": _style(),
        "found": found,
        "finalists": [finalist.describe() for finalist in found.finalists],
        "columns": [row.name for row in space.rows],
        "space": space.describe(),
        "ranked": sorted(found.trials, key=lambda t: (t.score is None, t.score or 0, t.number)),
        "seconds": sum(trial.seconds for trial in found.trials),
        "matter": matter,
        "curse": finalists.CURSE,
        "figures": {name: plots.to_svg(f, f"search {name}") for name, f in figures.items()},
    }  # fmt: skip


def _style() -> str:
    """Returns the style sheet of the run report: the two pages look alike by being alike."""
    page = (TEMPLATES / "report.html").read_text(encoding="utf-8")
    return re.search(r"<style>.*?</style>", page, re.DOTALL).group()  # type: ignore[union-attr]


def short(value: Any) -> str:
    """Returns a setting as a table shows it; what did not matter is left empty."""
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
