"""One HTML file about a search: no network, no scripts, every picture inside."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit import files
from tlkit.pages import html
from tlkit.pages.figures import to_svg
from tlkit.tuning import charts as search_plots
from tlkit.tuning import finalists
from tlkit.tuning.space import Space

if TYPE_CHECKING:
    from tlkit.tuning.result import SearchResult


def write(folder: Path, found: "SearchResult", space: Space) -> Path:
    """Writes `report.html` into a study's folder and returns its path."""
    path = folder / "report.html"
    files.write_text(path, render(found, space))
    return path


def render(found: "SearchResult", space: Space) -> str:
    """Returns the page as HTML."""
    return html.render("search.html", _context(found, space))


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
        "found": found,
        "finalists": [finalist.describe() for finalist in found.finalists],
        "columns": [row.name for row in space.rows],
        "space": space.describe(),
        "ranked": sorted(found.trials, key=lambda t: (t.score is None, t.score or 0, t.number)),
        "seconds": sum(trial.seconds for trial in found.trials),
        "matter": matter,
        "curse": finalists.CURSE,
        "figures": {name: to_svg(f, f"search {name}") for name, f in figures.items()},
    }  # fmt: skip
