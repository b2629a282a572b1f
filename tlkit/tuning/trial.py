"""What a trial does: it trains one classifier as a job says and returns what is known of it."""

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlkit.images.subset import stratified
from tlkit.tuning.process import Report

WORSE = 3.0  # a loss this many times that of guessing has diverged

TIME_UP = "the time was up"


def train(job: dict[str, Any], report: Report, folder: Path) -> dict[str, Any]:
    """Trains one classifier as a job says and returns what is known of it.

    Args:
        job: `manifest` and `model` (paths), `head`, `phases`, `seed`, `images` (training images to
            use, None for all), `store` (folder) and `engine`, `deadline` (seconds since the epoch,
            or None), `out` (run folder to keep, or None).
        report: Called with the facts of each epoch.
        folder: Where what is not kept may be written.
    """
    from tlkit.features.store import Store
    from tlkit.models.heads import Head
    from tlkit.phases.phase import Phase
    from tlkit.training.run import Run
    from tlkit.training.session import Session

    data = _data(job["manifest"], job["images"])
    phases = [Phase(**phase) for phase in job["phases"]]
    frozen = all(phase.unfreeze is None for phase in phases) and not job["out"]
    model = _classifier(job["model"], Head(**job["head"]), job["seed"], frozen)
    report(event="ready")
    with _run_folder(job["out"], folder) as place:
        if job["out"]:
            run = Run.create(place, model, data, phases, job["seed"])
        else:  # nothing of it is kept, so nothing but the checkpoint is written
            run = Run(place, model, phases, job["seed"])
            run.data = data
        store = Store(Path(job["store"]), engine=job["engine"])
        watch = _watch(run, job["deadline"], report)
        session = Session(run, [watch], store)
        session.finish() if job["out"] else session.train()
        return _result(run, session, data.val.labels)


def _result(run, session, labels) -> dict[str, Any]:
    """Returns the score: calibrated log loss, which no choice of label smoothing can flatter."""
    import numpy as np

    from tlkit import files
    from tlkit.evaluation import calibration
    from tlkit.evaluation.calibration import log_loss

    logits = session.best_logits
    temperature = calibration.fit_temperature(logits, labels)
    stopped = str(run.stopped)
    status = "cut" if stopped == TIME_UP else "pruned" if stopped else "done"
    if run.finished and status == "done":  # the search takes this file for a finalist
        with files.replacing(run.folder / "val_logits.npy") as temporary:
            np.save(temporary, logits / temperature)
    return {
        "status": status,
        "message": stopped,
        "loss": log_loss(logits / temperature, labels),
        "accuracy": float(np.mean(logits.argmax(-1) == labels)),
        "epochs": len(run.history),
        "curve": [round(row["val_loss"], 5) for row in run.history],
    }


def _watch(run, deadline: float | None, report: Report):
    """Returns the callback that reports epochs and ends a run that is late or hopeless."""
    import keras

    limit = WORSE * math.log(len(run.model.class_names))

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            row = {key: logs[key] for key in ("phase", "val_loss", "val_accuracy", "seconds")}
            report(event="epoch", epoch=epoch + 1, **row)
            if deadline is not None and time.time() >= deadline:
                run.stopped = TIME_UP
            elif logs["val_loss"] > limit:
                run.stopped = f"diverged: validation loss {logs['val_loss']:.3g}"

    return Watch()


@contextlib.contextmanager
def _run_folder(out: str | None, scratch: Path) -> Iterator[Path]:
    if out:
        shutil.rmtree(out, ignore_errors=True)  # what an interrupted attempt left
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        yield Path(folder)


# Kept from trial to trial: the same images, and the network before any training.
_KEPT: dict[str, Any] = {}


def _data(manifest: str, images: int | None):
    """Loads the images; the test split is left out, a trial cannot see it even by mistake."""
    import dataclasses

    import numpy as np

    from tlkit.images.dataset import Data

    if _KEPT.get("manifest") != manifest:
        _KEPT.update(manifest=manifest, data=Data.from_manifest(manifest))
    data = _KEPT["data"]
    splits = np.where(data.splits == "test", "", data.splits)
    if images is not None:
        train = np.flatnonzero(splits == "train")
        dropped = np.setdiff1d(train, train[stratified(data.table.labels[train], images)])
        splits[dropped] = ""
    return dataclasses.replace(data, splits=splits)


def _classifier(folder: str, head, seed: int, frozen: bool):
    """Builds a classifier on the stored backbone, which itself is never trained.

    Where all of it stays frozen, which the audit of every phase proves, it need not be copied
    first: that takes longer than training a head on cached features.
    """
    import dataclasses

    import keras

    from tlkit.models.classifier import Classifier

    if _KEPT.get("model") != folder:
        _KEPT.update(model=folder, start=Classifier.load(folder))
    start = _KEPT["start"]
    keras.backend.clear_session(free_memory=False)
    source = start.backbone if frozen else start
    model = Classifier(source, start.class_names, size=start.rule, head=head, seed=seed)
    model.backbone = dataclasses.replace(model.backbone, weights=start.backbone.weights)
    return model
