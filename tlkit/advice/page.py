"""The advice as one HTML file: no network, no scripts, every picture inside."""

from typing import TYPE_CHECKING, Any

from tlkit.advice import charts, lines
from tlkit.advice.rules import TABLE
from tlkit.pages import html
from tlkit.pages.figures import to_svg

if TYPE_CHECKING:
    from tlkit.advice.result import Advice


def render(advice: "Advice") -> str:
    """Returns the page."""
    return html.render("advice.html", _context(advice))


def _context(advice: "Advice") -> dict[str, Any]:
    figures = {f"stages of {one.name}": charts.stages(one) for one in advice.candidates}
    figures["cost"] = charts.accuracy_against_cost(advice.candidates)
    return {
        "advice": advice,
        "table": TABLE,
        "reasons": advice.candidates[0].domain.reasons,
        "standing": {one.name: lines.standing(one) for one in advice.candidates},
        "plan": lines.plan_lines(advice),
        "expected": " ".join(lines.expected(advice)),
        "figures": {name: to_svg(figure, name) for name, figure in figures.items()},
    }
