"""One HTML file about a run: no network, no scripts, every picture inside.

The context of `render` and `write` is a plain dict. Every key may be missing, and the part of the
page that needs it is then left out; an unknown key is an error.

    title        str, heading of the page
    run          dict of settings, all listed at the end. The head of the page uses `task` (one
                 sentence), `backbone`, `weights`, `size` (pixels), `started` (text or datetime),
                 `seconds` (wall time of the run)
    data         dict: class_names; counts {split: {class: images}}; warnings [str]
                 (an empty list says that the checks ran and found nothing);
                 quarantine [{file, reason} or str]; duplicates [str or list of files];
                 skipped {extension: count}
    phases       list of dict: name, from_stage (lowest trained stage), trainable and total
                 (numbers of parameters), epochs (run), best_epoch, rates (a number, or one per
                 depth), views (cached per image, None without a cache), seconds, frozen_equal
                 (True, False, or None where nothing was frozen)
    history      list of dict, one per epoch in order of time: epoch, phase, loss, accuracy,
                 val_loss, val_accuracy, learning_rate; `best` is true at the epoch that was kept
    evaluations  dict: name such as `test` -> result of `metrics.evaluate`. The page details
                 `test`, else the last one
    temperature  float, calibration that the export applies
    samples      list of dict: image (uint8 [h, w], [h, w, 1], [h, w, 3] or None), file, true,
                 predicted, probability (of the predicted class), true_probability
    mistakes     the same, worst first
    versions     dict: package -> version
    usage        dict: heading such as `Python` -> lines of code
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkit import files
from tlkit.errors import unknown
from tlkit.evaluation.metrics import HEADLINES, Evaluation, headline_text
from tlkit.pages import charts, figures, html
from tlkit.text import compact, duration, percent

EMPTY: dict[str, Any] = {
    "title": "Fine-tuning report",
    "run": {},
    "data": {},
    "phases": [],
    "history": [],
    "evaluations": {},
    "temperature": None,
    "samples": [],
    "mistakes": [],
    "versions": {},
    "usage": {},
}
EMPTY_DATA: dict[str, Any] = {
    "class_names": [],
    "counts": {},
    "warnings": None,
    "quarantine": [],
    "duplicates": [],
    "skipped": {},
}
EMPTY_PHASE = dict.fromkeys(
    "name from_stage trainable total epochs best_epoch rates views seconds frozen_equal".split()
)
EMPTY_PICTURE = dict.fromkeys("image file true predicted probability true_probability".split())
LISTED = 50  # files, pairs or pictures in one list
THUMBNAIL = 240  # pixels on the longer side


def write(path: str | os.PathLike[str], context: Mapping[str, Any]) -> None:
    """Writes the page to `path`, atomically. The module's docstring lists the context."""
    files.write_text(path, render(context))


def render(context: Mapping[str, Any]) -> str:
    """Returns the page as HTML. The module's docstring lists the context.

    Raises:
        TlkitError: The context has a key this report does not know.
    """
    return html.render("report.html", _view(_filled(context)))


def _filled(context: Mapping[str, Any]) -> dict[str, Any]:
    for key in context:
        if key not in EMPTY:
            raise unknown("report entry", key, EMPTY)
    given = {key: value for key, value in context.items() if value is not None}
    filled = EMPTY | given
    filled["data"] = EMPTY_DATA | dict(filled["data"])
    filled["phases"] = [EMPTY_PHASE | dict(phase) for phase in filled["phases"]]
    filled["evaluations"] = {
        name: result.values if isinstance(result, Evaluation) else result
        for name, result in filled["evaluations"].items()
    }
    return filled


def _view(context: dict[str, Any]) -> dict[str, Any]:
    evaluations = context["evaluations"]
    chosen = "test" if "test" in evaluations else next(reversed(evaluations), None)
    detail = evaluations.get(chosen)
    if detail is not None:
        evaluations = {chosen: detail} | evaluations  # first column, for narrow screens
    return context | {
        "evaluations": evaluations,
        "lede": context["run"].get("task"),
        "hero": _hero(context, chosen),
        "facts": _facts(context),
        "totals": _totals(context["data"]["counts"]),
        "calm": _calm(context["data"]),
        "chosen": chosen,
        "detail": detail,
        "metrics": _metric_rows(evaluations),
        "calibration": _calibration(detail),
        "figures": _figures(context, detail),
        "samples": [_tile(row) for row in context["samples"][:LISTED]],
        "mistakes": [_tile(row) for row in context["mistakes"][:LISTED]],
        "LISTED": LISTED,
    }


def _hero(context: dict[str, Any], chosen: str | None) -> dict[str, Any] | None:
    """Returns the one number of the page: an accuracy and what it was measured on."""
    if chosen is not None:
        result = context["evaluations"][chosen]
        caveat = "" if chosen == "test" else "These images chose the best epoch: expect less."
        return {
            "headline": result["accuracy"],
            "words": f"accuracy on {result['n']:,} {chosen} images",
            "caveat": caveat if chosen.startswith("val") else "",
        }
    measured = [row for row in context["history"] if row.get("val_accuracy") is not None]
    if not measured:
        return None
    best = max(row["val_accuracy"] for row in measured)
    return {
        "headline": {"value": best, "low": None, "high": None},
        "words": "best validation accuracy while training",
        "caveat": "Not evaluated yet.",
    }


def _facts(context: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns (label, value, remark) for the cards beside the headline."""
    run, data = context["run"], context["data"]
    totals = _totals(data["counts"])
    size = f"{run['size']} px" if "size" in run else ""
    weights = f"weights: {run['weights']}" if run.get("weights") else ""
    cards = [
        ("Backbone", run.get("backbone"), ", ".join(filter(None, [size, weights]))),
        (
            "Images",
            f"{sum(totals.values()):,}" if totals else None,
            ", ".join(f"{count:,} {split}" for split, count in totals.items()),
        ),
        (
            "Classes",
            str(len(data["class_names"])) if data["class_names"] else None,
            _few(data["class_names"]),
        ),
        (
            "Time",
            duration(run["seconds"]) if run.get("seconds") is not None else None,
            f"started {compact(run['started'])}" if "started" in run else "",
        ),
    ]
    return [(label, value, remark) for label, value, remark in cards if value]


def _few(names: Sequence[str], limit: int = 6) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _calm(data: Mapping[str, Any]) -> bool:
    """Whether the checks ran and found nothing; without `warnings` nobody says they ran."""
    found = data["warnings"] or data["quarantine"] or data["duplicates"]
    return data["warnings"] is not None and not found


def _totals(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {split: sum(images.values()) for split, images in counts.items()}


def _metric_rows(evaluations: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, (words, share) in HEADLINES.items():
        cells = [
            {"text": headline_text(name, result[name]), "share": share, **result[name]}
            if name in result
            else None
            for result in evaluations.values()
        ]
        if any(cells):
            rows.append({"words": words, "cells": cells})
    return rows


def _calibration(detail: Mapping[str, Any] | None) -> str | None:
    if detail is None:
        return None
    said, right = detail["mean_confidence"], detail["accuracy"]["value"]
    judged = "too sure of itself" if said > right else "less sure than it could be"
    judged = "as it should be" if abs(said - right) < 0.02 else judged
    return (
        f"On average the model says {percent(said)} and is right {percent(right)} of the time: "
        f"{judged}. Over the bins the gap is {headline_text('ece', detail['ece'])}."
    )


def _figures(context: dict[str, Any], detail: Mapping[str, Any] | None) -> dict[str, str]:
    """Returns name -> SVG of every figure there are numbers for."""
    history, counts = context["history"], context["data"]["counts"]
    drawn = {}
    if any(counts.values()):
        drawn["Images per class"] = charts.class_balance(counts)
    for quantity in ("loss", "accuracy"):
        if any(row.get(quantity) is not None for row in history):
            drawn[f"{quantity.capitalize()} by epoch"] = charts.learning_curve(history, quantity)
    if detail is not None:
        drawn["Recall by class"] = charts.recall_bars(detail["per_class"])
        drawn["Confusion matrix"] = charts.confusion_matrix(
            detail["confusion"], detail["class_names"]
        )
        drawn["Reliability"] = charts.reliability_diagram(detail["reliability"])
    return {title: figures.to_svg(figure, title) for title, figure in drawn.items()}


def _tile(row: Mapping[str, Any]) -> dict[str, Any]:
    row = EMPTY_PICTURE | dict(row)
    name = Path(str(row["file"])).name if row["file"] is not None else ""
    tile = row | {"right": row["true"] == row["predicted"], "name": name, "uri": None}
    if row["image"] is not None:
        tile["uri"], tile["tiny"] = _data_uri(np.asarray(row["image"]))
    return tile


def _data_uri(pixels: np.ndarray) -> tuple[str, bool]:
    """Returns a thumbnail and whether it is so small that its pixels should stay sharp."""
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3]
    image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).convert("RGB")
    tiny = max(image.size) <= 64
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return html.data_uri(image, "png" if tiny else "jpeg"), tiny
