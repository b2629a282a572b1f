"""The end of a search: the best model in its place, judged once on test images, written down."""

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.phases import recipe_format
from tlkit.phases.phase import Phase
from tlkit.training.run import Run
from tlkit.tuning import conclusion, finalists, page
from tlkit.tuning.finalists import Finalist
from tlkit.tuning.result import SearchResult
from tlkit.tuning.searcher import Searcher
from tlkit.tuning.study import Study
from tlkit.workflows.run_report import write_report

# What `load_images` takes again from a manifest, besides the source itself.
_DATA = ("labels", "test", "val_share", "test_share", "max_bad", "data_dir")
_USUAL = {"labels": None, "test": None, "val_share": 0.15, "test_share": 0.15, "max_bad": 0.05}


def install_winner(folder: Path, winner: Finalist, data: Data) -> dict[str, Any] | None:
    """Copies the winner's first run to `best/` and evaluates it on the test images, if any.

    The first seed, not the best: choosing among seeds by validation would be choosing luck.
    """
    best = folder / "best"
    shutil.rmtree(best, ignore_errors=True)
    shutil.copytree(winner.folders[0], best)
    run = Run.open(best)
    run.data = data
    values = run.evaluate().values if len(data.test) else None
    write_report(run)
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


def conclude(searcher: Searcher) -> SearchResult:
    """Names the winner, unseals the test images for it alone and writes everything down."""
    found = judged(searcher)
    _write(searcher, found)
    return found


def judged(searcher: Searcher) -> SearchResult:
    """Ranks the finalists by their runs; nothing here looks at test images.

    Raises:
        TlkitError: There is no finalist whose seeds all came to their end.
    """
    found = SearchResult(searcher.study.folder, list(searcher.study.trials.values()))
    stable = {k: v for k, v in searcher.confirmed.items() if k not in searcher.unstable}
    if not stable:
        raise TlkitError(_nothing(searcher.study))
    labels = searcher.data.val.labels
    for number, folders in stable.items():
        settings = searcher.study.trials[number].settings
        found.finalists.append(finalists.gather(number, settings, folders, labels))
    found.finalists.sort(key=lambda finalist: float(finalist.losses.mean()))
    _judge(found)
    return found


def _write(searcher: Searcher, found: SearchResult) -> None:
    folder, best = searcher.study.folder, found.finalists[0]
    trained = searcher.trained(best.settings, searcher.study.trials[best.number].batch_size)
    given = searcher.options.origin
    origin = conclusion.origin(searcher.model, searcher.data, searcher.start, given)
    origin["seed"] = int(best.folders[0].name.rpartition("-")[2])  # of the run in best/
    conclusion.write_recipe(folder, trained, origin, {"phases": found.verdict})
    found.test = conclusion.install_winner(folder, best, searcher.data)
    conclusion.write_result(folder, found, time.time() - searcher.began)
    page.write(folder, found, searcher.space)


def _judge(found: SearchResult) -> None:
    best, *others = found.finalists
    found.settings = best.settings
    found.comparisons = [finalists.compare(best, other) for other in others]
    against = [c for c in found.comparisons if c["second"] == 0]
    if against:
        found.verdict = against[0]["verdict"]
    elif best.number == 0:
        beaten = f": {found.comparisons[0]['verdict']}" if others else ""
        found.verdict = f"the default settings are the best that was found{beaten}"
    else:
        found.verdict = f"trial {best.number} is the best of what could be confirmed"


def _nothing(study: Study) -> str:
    """Returns why there is no winner."""
    messages = [trial.message for trial in study.trials.values() if trial.message]
    if messages and not study.ranked:
        return f"No trial came to its end. The last said: {messages[-1]}. See {study.folder}/work."
    return (
        f"The time was up before one finalist was trained; {len(study.trials)} trials are kept in "
        f"{study.folder}. Give the same command more minutes, and it goes on from there."
    )
