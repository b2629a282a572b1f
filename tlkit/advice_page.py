"""The advice as one HTML file: no network, no scripts, every picture inside."""

from typing import TYPE_CHECKING, Any

from tlkit import advice_plots, advice_text, pages, plots
from tlkit.advice_rules import TABLE

if TYPE_CHECKING:
    from tlkit.advice import Advice


def render(advice: "Advice") -> str:
    """Returns the page."""
    return pages.render("advice.html", _context(advice))


def _context(advice: "Advice") -> dict[str, Any]:
    figures = {f"stages of {one.name}": advice_plots.stages(one) for one in advice.candidates}
    figures["cost"] = advice_plots.accuracy_against_cost(advice.candidates)
    return {
        "advice": advice,
        "table": TABLE,
        "reasons": advice.candidates[0].domain.reasons,
        "standing": {one.name: advice_text.standing(one) for one in advice.candidates},
        "plan": advice_text.plan_lines(advice),
        "expected": " ".join(advice_text.expected(advice)),
        "figures": {name: plots.to_svg(figure, name) for name, figure in figures.items()},
    }
