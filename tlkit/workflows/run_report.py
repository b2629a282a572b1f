"""Gathers what a run knows into the facts of its HTML report."""

import datetime
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import files
from tlkit.features import decoded
from tlkit.images.dataset import Data, Images
from tlkit.models.network import PIXELS
from tlkit.phases.phase import Phase
from tlkit.training.run import Run
from tlkit.workflows import run_page
from tlkit.workflows.run_facts import (
    DataFacts,
    EpochFacts,
    PhaseFacts,
    Picture,
    RunFacts,
    Settings,
)

PICTURES = 12  # sample predictions, and as many mistakes


def write_report(run: Run, out: str | os.PathLike[str] | None = None) -> Path:
    """Writes `report.html` into the run folder, or into `out`, and returns its path."""
    path = (run.folder if out is None else Path(out)) / "report.html"
    run_page.write(path, facts(run))
    return path


def facts(run: Run) -> RunFacts:
    """Returns what the page tells: of the test images once they are judged, till then of `val`."""
    data = run.require_data()
    path = run.folder / "metrics.json"
    evaluations = files.read_json(path) if path.exists() else {}
    judged = data.test if "test" in evaluations else data.val
    samples, mistakes = _pictures(run, judged)
    return RunFacts(
        title=Path(str(data.table.source)).name or "Fine-tuning",
        settings=_settings(run, data),
        data=_data(data),
        phases=tuple(_phase(record) for record in run.records),
        history=_history(run),
        evaluations=evaluations,
        temperature=run.model.temperature,
        samples=samples,
        mistakes=mistakes,
        versions=run.versions,
        usage=_usage(run),
    )


def _settings(run: Run, data: Data) -> Settings:
    backbone, rule = run.model.backbone, run.model.rule
    return Settings(
        task=f"{len(data.class_names)} classes, {len(data.train):,} training images",
        backbone=backbone.name,
        weights=backbone.weights,
        size=rule.size,
        resize=rule.resize,
        channels=rule.channels,
        head=run.model.head.kind,
        seed=run.seed,
        started=datetime.datetime.fromtimestamp(int(run.began)),
        seconds=run.seconds,
        folder=str(run.folder),
        phases={phase.name: _plan(phase) for phase in run.phases},
        stopped=run.stopped,
    )


def _plan(phase: Phase) -> str:
    return (
        f"{phase.optimizer}, rate {phase.rate:g} {phase.schedule}, "
        f"decay {phase.weight_decay:g}, smoothing {phase.smoothing:g}, "
        f"augmentation {phase.augment}, batch {phase.batch_size}"
    )


def _data(data: Data) -> DataFacts:
    return DataFacts(
        class_names=data.class_names,
        counts=_counts(data),
        warnings=data.warnings,
        quarantine=tuple((str(file), reason) for file, reason in data.quarantine),
        skipped=data.table.skipped,
    )


def _counts(data: Data) -> dict[str, dict[str, int]]:
    counts = {}
    for images in (data.train, data.val, data.test):
        if len(images):
            found = Counter(images.labels.tolist())
            counts[images.role] = {name: found[i] for i, name in enumerate(data.class_names)}
    return counts


def _phase(record: dict[str, Any]) -> PhaseFacts:
    return PhaseFacts(
        name=record["name"],
        from_stage=record["unfreeze"],
        trainable=record["trainable"],
        total=record["trainable"] + record["frozen"],
        epochs=record["epochs"],
        best_epoch=record["best_epoch"],
        rates=tuple(record["rates"]),
        views=record["views"] if record["boundary"] != PIXELS else None,
        seconds=record["seconds"],
        frozen_equal=True if record["audited"] and record["frozen"] else None,
    )


def _history(run: Run) -> tuple[EpochFacts, ...]:
    best = min((row["val_loss"] for row in run.history), default=None)
    return tuple(_epoch(row, row["val_loss"] == best) for row in run.history)


def _epoch(row: dict[str, Any], best: bool) -> EpochFacts:
    return EpochFacts(
        epoch=row["epoch"],
        phase=row["phase"],
        loss=row["loss"],
        accuracy=row["accuracy"],
        val_loss=row["val_loss"],
        val_accuracy=row["val_accuracy"],
        learning_rate=row["learning_rate"],
        best=best,
    )


def _pictures(run: Run, images: Images) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    """Returns sample predictions spread over the classes, and the worst mistakes."""
    rows = decoded.pixel_rows(run.store, images, run.model.rule)
    chances = run.probabilities(images)
    truth = chances[np.arange(len(images)), images.labels]
    order = np.random.default_rng(run.seed).permutation(len(images))
    worst = [i for i in np.argsort(truth) if chances[i].argmax() != images.labels[i]]
    return (
        tuple(_picture(run, images, rows, chances, i) for i in order[:PICTURES]),
        tuple(_picture(run, images, rows, chances, i) for i in worst[:PICTURES]),
    )


def _picture(run: Run, images: Images, rows, chances, i) -> Picture:
    names: Sequence[str] = run.model.class_names
    guess = int(chances[i].argmax())
    return Picture(
        image=rows[i],
        file=images.files[i],
        true=names[images.labels[i]],
        predicted=names[guess],
        probability=float(chances[i][guess]),
        true_probability=float(chances[i][images.labels[i]]),
    )


def _usage(run: Run) -> dict[str, str]:
    name = run.folder.name
    return {
        "Command line": f"tlkit export {run.folder} saved_models/{name}\n"
        f"tlkit predict saved_models/{name} a.jpg b.png --top 3",
        "Python": f"import tlkit\nrun = tlkit.Run.open({str(run.folder)!r})\n"
        'print(run.model.predict(["a.jpg"]))      # probabilities, in the order of class_names\n'
        "keras_model = run.model.keras_model     # an ordinary keras.Model, pixels to logits",
    }
