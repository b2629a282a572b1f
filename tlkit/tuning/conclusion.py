"""The end of a search: the best model in its place, judged once on test images, written down."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier, Head
from tlkit.phases import recipe_format
from tlkit.phases.phase import Phase
from tlkit.training.run import Run
from tlkit.tuning import finalists
from tlkit.tuning.finalists import Finalist

# What `load_images` takes again from a manifest, besides the source itself.
_DATA = ("labels", "test", "val_share", "test_share", "max_bad", "data_dir")
_USUAL = {"labels": None, "test": None, "val_share": 0.15, "test_share": 0.15, "max_bad": 0.05}


def crown(folder: Path, winner: Finalist, data: Data) -> dict[str, Any] | None:
    """Copies the winner's first run to `best/` and evaluates it on the test images, if any.

    The first seed, not the best: choosing among seeds by validation would be choosing luck.
    """
    best = folder / "best"
    shutil.rmtree(best, ignore_errors=True)
    shutil.copytree(winner.folders[0], best)
    run = Run.open(best)
    run.data = data
    values = run.evaluate().values if len(data.test) else None
    run.report()
    return values


def write_recipe(
    folder: Path,
    trained: tuple[Head, Sequence[Phase]],
    origin: Mapping[str, Any],
    notes: Mapping[str, str],
) -> Path:
    """Writes `winner.py`, which trains with the winning settings when it is run."""
    head, phases = trained
    recipe = {**origin, "head": dataclasses.asdict(head), "phases": list(phases)}
    path = folder / "winner.py"
    recipe_format.write(path, recipe, notes, "The settings that a search with tlkit found.")
    return path


def origin(model: Classifier, data: Data, start: Path, given: Mapping[str, Any] | None) -> dict:
    """Returns what a recipe needs to build the same untrained model on the same images.

    Args:
        start: Where the untrained model is kept; the recipe takes it over if `given` is None.
    """
    options = {**_USUAL, "seed": 0}
    rule = model.rule
    made = given or {
        "backbone": str(start.resolve()), "size": rule.size,
        "resize": rule.resize, "channels": rule.channels,
    }  # fmt: skip
    held = {name: data.manifest["options"].get(name) for name in _DATA}
    held["seed"] = data.manifest["seed"]
    changed = {name: value for name, value in held.items() if value != options.get(name)}
    how = {"data": changed} if changed else {}
    return {"source": data.manifest["options"]["source"], **how, **made}


def write_result(folder: Path, found: Any, seconds: float) -> None:
    """Writes `result.json`: the finalists, how they compare, and the verdict."""
    files.write_json(
        folder / "result.json",
        {
            "verdict": found.verdict,
            "settings": found.settings,
            "finalists": [finalist.describe() for finalist in found.finalists],
            "comparisons": found.comparisons,
            "note": finalists.CURSE,
            "test": found.test and {k: found.test[k] for k in ("n", "accuracy", "log_loss")},
            "seconds": round(seconds, 1),
        },
    )
