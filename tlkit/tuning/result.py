"""What a search found, as a value."""

import dataclasses
from pathlib import Path
from typing import Any

from tlkit.training.run import Run
from tlkit.tuning.finalists import Finalist
from tlkit.tuning.space import Settings
from tlkit.tuning.study import Trial


@dataclasses.dataclass
class SearchResult:
    """What a search found.

    Attributes:
        folder: The study: trials, `report.html`, `winner.py`, and the best model in `best/`.
        trials: Every trial, in order.
        finalists: What was trained again, best first; empty if the time did not suffice.
        comparisons: The winner against the default and every other finalist.
        settings: The winning settings.
        verdict: The winner against the default in one sentence.
        test: The metrics of the winner on the test images, or None without any.
    """

    folder: Path
    trials: list[Trial]
    finalists: list[Finalist] = dataclasses.field(default_factory=list)
    comparisons: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    settings: Settings = dataclasses.field(default_factory=dict)
    verdict: str = ""
    test: dict[str, Any] | None = None

    @property
    def run(self) -> Run:
        """The best model's run: evaluate, report, export and predict as with any other."""
        return Run.open(self.folder / "best")

    @property
    def recipe(self) -> Path:
        """The winning settings as a Python file that trains with them."""
        return self.folder / "winner.py"
