"""The verb `evaluate`: every image of a folder judged once by a finished run."""

import os
from pathlib import Path
from typing import Any

from tlkit.evaluation.metrics import Evaluation
from tlkit.images.dataset import Images, read_images
from tlkit.training.run import Run


def evaluate(run: Run | str | os.PathLike[str], images: Any = None) -> Evaluation:
    """Evaluates every image once and keeps the result in the run's `metrics.json`.

    Args:
        run: A `Run` or its folder.
        images: Labelled images to judge: an `Images` value such as `data.test`, or a folder, CSV
            file or name to read them from. The run's own test split by default.

    Raises:
        TlkitError: No such run, a class it does not know, or no images.
    """
    run = run if isinstance(run, Run) else Run.open(Path(run))
    if images is None or isinstance(images, Images):
        return run.evaluate(images)
    return run.evaluate(read_images(images, run.model.class_names), name=str(images))
