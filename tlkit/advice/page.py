"""The advice as one HTML file: no network, no scripts, every picture inside."""

import os
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.advice import charts, lines
from tlkit.advice.result import Advice
from tlkit.advice.rules import TABLE
from tlkit.pages import html
from tlkit.pages.figures import to_svg
from tlkit.phases import recipe_format

RECIPE, PAGE, NUMBERS = "advised.py", "advice.html", "advice.json"


def write(advice: Advice, folder: str | os.PathLike[str]) -> Path:
    """Writes `advised.py`, `advice.html` and `advice.json`; returns the page's path."""
    folder = Path(folder)
    title = f"Advised: {advice.candidates[0].name}, {advice.plan.name}."
    recipe_format.write(folder / RECIPE, advice.recipe, advice.recipe_notes, title)
    files.write_json(folder / NUMBERS, advice.numbers())
    files.write_text(folder / PAGE, render(advice))
    return folder / PAGE


def render(advice: Advice) -> str:
    """Returns the page."""
    return html.render("advice.html", _context(advice))


def _context(advice: Advice) -> dict[str, Any]:
    figures = {f"stages of {one.name}": charts.stages(one) for one in advice.candidates}
    figures["cost"] = charts.accuracy_against_cost(advice.candidates)
    return {
        "advice": advice,
        "table": TABLE,
        "reasons": advice.candidates[0].domain.reasons,
        "standing": {one.name: lines.standing(one) for one in advice.candidates},
        "plan": lines.plan_lines(advice.candidates[0].name, advice.plan),
        "expected": " ".join(advice.expected),
        "figures": {name: to_svg(figure, name) for name, figure in figures.items()},
    }
