"""What the adviser found, as a value."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tlkit.advice import lines
from tlkit.advice.candidates import Candidate
from tlkit.advice.image_kind import Kind
from tlkit.advice.rules import Facts, Plan
from tlkit.planning.estimate import Estimate


@dataclasses.dataclass(frozen=True, eq=False)
class Advice:
    """What was measured and what follows. `print` shows all of it; `tlkit.report` keeps it.

    Attributes:
        candidates: Measured backbones, the best probe first.
        facts: What the plan follows from, for the first of them.
        plan: The phases and why.
        accuracy: Expected accuracy of the plan, and its 95 % range, 0..1.
        cost: What all epochs of the plan would take on this machine.
        kind: What the pictures seem to be.
        seen: Training images that were looked at.
        recipe: What `recipe_format.write` takes, with a reason for its lines in `recipe_notes`.
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
        best = self.candidates[0]
        said = [*lines.where(self.facts, best), ""]
        for one in self.candidates:
            said += [*lines.stage_table(one, self.seen), ""]
        said += [*lines.ranking(self.candidates), "", *lines.plan_lines(best.name, self.plan), ""]
        return "\n".join([*said, *self.expected, *self.notes])

    @property
    def expected(self) -> list[str]:
        """What to expect, in words."""
        return lines.expected(self.facts, self.accuracy, self.minutes)

    @property
    def minutes(self) -> tuple[float, float, float]:
        """Expected minutes on this machine, and a range: a third of the epochs, or all."""
        epochs = sum(phase.epoch * phase.epochs for phase in self.cost.phases)
        least, most = self.cost.seconds - 2 * epochs / 3, self.cost.seconds
        return math.sqrt(least * most) / 60, least / 60, most / 60

    def numbers(self) -> dict[str, Any]:
        """Returns everything as plain values, for JSON."""
        return {
            "facts": dataclasses.asdict(self.facts),
            "plan": self.plan.name,
            "phases": [dataclasses.asdict(phase) for phase in self.plan.phases],
            "accuracy": list(self.accuracy),
            "minutes": list(self.minutes),
            "cost": dataclasses.asdict(self.cost),
            "kind": dataclasses.asdict(self.kind),
            "seen": self.seen,
            "candidates": [_candidate(one) for one in self.candidates],
            "notes": list(self.notes),
        }


def _candidate(one: Candidate) -> dict[str, Any]:
    return {
        "name": one.name, "weights": one.weights, "size": one.size, "tied": one.tied,
        "behind": dict(one.behind),
        "domain": {**dataclasses.asdict(one.domain), "distance": one.domain.distance},
        "cost": dataclasses.asdict(one.cost),
        "stages": {
            name: {
                "linear": dataclasses.asdict(p.linear), "knn": dataclasses.asdict(p.knn),
                "logme": p.logme,
            }
            for name, p in one.stages.items()
        },
    }  # fmt: skip
