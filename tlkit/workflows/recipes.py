"""Runs recipe files: the model they describe, its training, and their own command line."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit.errors import TlkitError
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier, default_size
from tlkit.models.heads import Head
from tlkit.phases.recipe_format import KEYS, phases_in
from tlkit.training.run import Run
from tlkit.workflows.fine_tuning import fine_tune
from tlkit.workflows.run_report import write_report


def classifier(settings: Mapping[str, Any], class_names: Sequence[str]) -> Classifier:
    """Builds the untrained classifier a recipe describes."""
    settings = {**KEYS, **settings}
    if (Path(settings["backbone"]) / "classifier.json").exists():
        size = None  # a run folder brings its own pixel rule
    else:
        side = settings["size"] or default_size(settings["backbone"])
        size = PixelRule(side, settings["resize"], settings["channels"])
    return Classifier(
        settings["backbone"],
        class_names,
        weights=settings["weights"],
        size=size,
        head=Head(**settings["head"]),
        replace_from=settings["replace_from"],
        seed=settings["seed"],
    )


def train_recipe(
    settings: Mapping[str, Any], out: str | Path | None = None, store: Store | None = None
) -> Run:
    """Loads the images, builds the model and trains it as the settings say; returns the run.

    Raises:
        TlkitError: The settings name no source of images, or one that cannot be read.
    """
    settings = {**KEYS, **settings}
    if not settings["source"]:
        raise TlkitError("The recipe names no images: set `source` to a folder, CSV file or name.")
    data = load_images(settings["source"], **settings["data"])
    model = classifier(settings, data.class_names)
    phases = phases_in(settings)
    return fine_tune(model, data, phases, out=out, seed=settings["seed"], store=store)


def run_recipe(settings: Mapping[str, Any], description: str | None = "") -> None:
    """What a recipe file does when it is run: train, then evaluate on the test images.

    Args:
        settings: The recipe's `SETTINGS`.
        description: The recipe's docstring; its first line is shown by `--help`.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--source", default=settings.get("source"), help="other images")
    parser.add_argument("--out", help="run folder")
    arguments = parser.parse_args()
    run = train_recipe({**settings, "source": arguments.source}, arguments.out)
    if len(run.require_data().test):
        print(f"\nTest images: {run.evaluate()}")
    print(f"\nReport: {write_report(run)}")
