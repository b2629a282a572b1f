"""What the adviser found, as a value."""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.advice.candidates import Candidate
from tlkit.advice.image_kind import Kind
from tlkit.advice.rules import Facts, Plan
from tlkit.phases import recipe_format
from tlkit.planning.estimate import Estimate

RECIPE, PAGE, NUMBERS = "advised.py", "advice.html", "advice.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Advice:
    """What was measured and what follows. `print` shows all of it; `write` keeps it.

    Attributes:
        candidates: Measured backbones, the best probe first.
        facts: What the plan follows from, for the first of them.
        plan: The phases and why.
        accuracy: Expected accuracy of the plan, and its 95 % range, 0..1.
        cost: What all epochs of the plan would take on this machine.
        kind: What the pictures seem to be.
        seen: Training images that were looked at.
        recipe: What `recipe_files.write` takes, with a reason for its lines in `recipe_notes`.
        notes: What else the user should know.
    """

    candidates: tuple[Candidate, ...]
    facts: Facts
    plan: Plan
    accuracy: tuple[float, float, float]
    cost: Estimate
    kind: Kind
    seen: int
    recipe: Mapping[str, Any]
    recipe_notes: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        from tlkit.advice import lines

        return lines.text(self)

    @property
    def minutes(self) -> tuple[float, float, float]:
        """Expected minutes on this machine, and a range: a third of the epochs, or all."""
        epochs = sum(phase.epoch * phase.epochs for phase in self.cost.phases)
        least, most = self.cost.seconds - 2 * epochs / 3, self.cost.seconds
        return math.sqrt(least * most) / 60, least / 60, most / 60

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Writes `advised.py`, `advice.html` and `advice.json`; returns the recipe's path."""
        from tlkit.advice import lines, page

        folder = Path(folder)
        title = f"Advised: {self.candidates[0].name}, {self.plan.name}."
        recipe_format.write(folder / RECIPE, self.recipe, self.recipe_notes, title)
        files.write_json(folder / NUMBERS, lines.numbers(self))
        files.write_text(folder / PAGE, page.render(self))
        return folder / RECIPE
