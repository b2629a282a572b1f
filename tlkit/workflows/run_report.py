"""Gathers what a run knows into the context of its HTML report."""

import datetime
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import files
from tlkit.features import decoded
from tlkit.models.network import PIXELS
from tlkit.training.run import Run
from tlkit.workflows import run_page

PICTURES = 12  # sample predictions, and as many mistakes


def write_report(run: Run) -> Path:
    """Writes `report.html` into the run folder and returns its path."""
    path = run.folder / "report.html"
    run_page.write(path, context(run))
    return path


def context(run: Run) -> dict[str, Any]:
    """Returns the context that `tlkit.workflows.run_page` documents."""
    data = run.require_data()
    path = run.folder / "metrics.json"
    evaluations = files.read_json(path) if path.exists() else {}
    judged = data.test if "test" in evaluations else data.val
    return {
        "title": Path(str(data.table.source)).name or "Fine-tuning",
        "run": _settings(run, data),
        "data": {
            "class_names": list(data.class_names),
            "counts": _counts(data),
            "warnings": list(data.warnings),
            "quarantine": [{"file": str(f), "reason": why} for f, why in data.quarantine],
            "skipped": dict(data.table.skipped),
        },
        "phases": [_phase(record) for record in run.records],
        "history": _history(run),
        "evaluations": evaluations,
        "temperature": run.model.temperature,
        **_pictures(run, judged),
        "versions": run.versions,
        "usage": _usage(run),
    }


def _settings(run: Run, data) -> dict[str, Any]:
    rule = run.model.rule
    classes = len(data.class_names)
    settings = {
        "task": f"{classes} classes, {len(data.train):,} training images",
        "backbone": run.model.backbone.name,
        "weights": run.model.backbone.weights,
        "size": rule.size,
        "resize": rule.resize,
        "channels": rule.channels,
        "head": run.model.head.kind,
        "seed": run.seed,
        "started": datetime.datetime.fromtimestamp(int(run.began)),
        "seconds": run.seconds,
        "folder": str(run.folder),
    }
    for phase in run.phases:
        settings[f"phase {phase.name}"] = (
            f"{phase.optimizer}, rate {phase.rate:g} {phase.schedule}, "
            f"decay {phase.weight_decay:g}, smoothing {phase.smoothing:g}, "
            f"augmentation {phase.augment}, batch {phase.batch_size}"
        )
    return settings | ({"stopped": run.stopped} if run.stopped else {})


def _counts(data) -> dict[str, dict[str, int]]:
    counts = {}
    for role in ("train", "val", "test"):
        images = getattr(data, role)
        if images is not None and len(images):
            found = Counter(images.labels.tolist())
            counts[role] = {name: found[i] for i, name in enumerate(data.class_names)}
    return counts


def _phase(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": record["name"],
        "from_stage": record["unfreeze"],
        "trainable": record["trainable"],
        "total": record["trainable"] + record["frozen"],
        "epochs": record["epochs"],
        "best_epoch": record["best_epoch"],
        "rates": record["rates"],
        "views": record["views"] if record["boundary"] != PIXELS else None,
        "seconds": record["seconds"],
        "frozen_equal": True if record["audited"] and record["frozen"] else None,
    }


def _history(run: Run) -> list[dict[str, Any]]:
    best = min((row["val_loss"] for row in run.history), default=None)
    return [
        {**{k: v for k, v in row.items() if k != "seconds"}, "best": row["val_loss"] == best}
        for row in run.history
    ]


def _pictures(run: Run, images) -> dict[str, list[dict[str, Any]]]:
    """Returns sample predictions spread over the classes, and the worst mistakes."""
    rows = decoded.pixel_rows(run.store, images, run.model.rule)
    chances = run.probabilities(images)
    truth = chances[np.arange(len(images)), images.labels]
    order = np.random.default_rng(run.seed).permutation(len(images))
    worst = [i for i in np.argsort(truth) if chances[i].argmax() != images.labels[i]]
    return {
        "samples": [_picture(run, images, rows, chances, i) for i in order[:PICTURES]],
        "mistakes": [_picture(run, images, rows, chances, i) for i in worst[:PICTURES]],
    }


def _picture(run: Run, images, rows, chances, i) -> dict[str, Any]:
    names: Sequence[str] = run.model.class_names
    guess = int(chances[i].argmax())
    return {
        "image": rows[i][..., :3],
        "file": str(images.files[i]),
        "true": names[images.labels[i]],
        "predicted": names[guess],
        "probability": float(chances[i][guess]),
        "true_probability": float(chances[i][images.labels[i]]),
    }


def _usage(run: Run) -> dict[str, str]:
    name = run.folder.name
    return {
        "Command line": f"tlkit export {run.folder} saved_models/{name}\n"
        f"tlkit predict saved_models/{name} a.jpg b.png --top 3",
        "Python": f"import tlkit\nrun = tlkit.Run.open({str(run.folder)!r})\n"
        'print(run.model.predict(["a.jpg"]))      # probabilities, in the order of class_names\n'
        "keras_model = run.model.keras_model     # an ordinary keras.Model, pixels to logits",
    }
