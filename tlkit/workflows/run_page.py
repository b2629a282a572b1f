"""One HTML file about a run: no network, no scripts, every picture inside.

The page is a function of a `RunFacts`; nothing else is looked up.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkit import files
from tlkit.evaluation.metrics import HEADLINES, headline_text
from tlkit.pages import charts, figures, html
from tlkit.text import compact, duration, percent
from tlkit.workflows.run_facts import DataFacts, Picture, RunFacts, Settings

LISTED = 50  # files, warnings or classes in one list
THUMBNAIL = 240  # pixels on the longer side


def write(path: str | os.PathLike[str], facts: RunFacts) -> None:
    """Writes the page to `path`, atomically."""
    files.write_text(path, render(facts))


def render(facts: RunFacts) -> str:
    """Returns the page as HTML."""
    return html.render("report.html", _view(facts))


def _view(facts: RunFacts) -> dict[str, Any]:
    """Returns the names of the template: the facts, and what is worked out for the page."""
    evaluations = facts.evaluations
    chosen = "test" if "test" in evaluations else next(reversed(list(evaluations)), None)
    detail = None
    if chosen is not None:
        detail = evaluations[chosen]
        evaluations = {chosen: detail} | dict(evaluations)  # first column, for narrow screens
    return {
        "facts": facts,
        "data": facts.data,
        "hero": _hero(facts, chosen),
        "cards": _cards(facts),
        "totals": _totals(facts.data),
        "calm": _calm(facts.data),
        "chosen": chosen,
        "detail": detail,
        "evaluations": evaluations,
        "metrics": _metric_rows(evaluations),
        "calibration": _calibration(detail),
        "figures": _figures(facts, detail),
        "samples": [_tile(picture) for picture in facts.samples],
        "mistakes": [_tile(picture) for picture in facts.mistakes],
        "settings": _settings(facts.settings),
        "LISTED": LISTED,
    }


def _hero(facts: RunFacts, chosen: str | None) -> dict[str, Any] | None:
    """Returns the one number of the page: an accuracy and what it was measured on."""
    if chosen is not None:
        result = facts.evaluations[chosen]
        caveat = "" if chosen == "test" else "These images chose the best epoch: expect less."
        return {
            "headline": result["accuracy"],
            "words": f"accuracy on {result['n']:,} {chosen} images",
            "caveat": caveat if chosen.startswith("val") else "",
        }
    if not facts.history:
        return None
    best = max(row.val_accuracy for row in facts.history)
    return {
        "headline": {"value": best, "low": None, "high": None},
        "words": "best validation accuracy while training",
        "caveat": "Not evaluated yet.",
    }


def _cards(facts: RunFacts) -> list[tuple[str, str, str]]:
    """Returns (label, value, remark) for the cards beside the headline."""
    settings, names = facts.settings, facts.data.class_names
    totals = _totals(facts.data)
    splits = ", ".join(f"{count:,} {split}" for split, count in totals.items())
    weights = f"{settings.size} px, weights: {settings.weights}"
    return [
        ("Backbone", settings.backbone, weights),
        ("Images", f"{sum(totals.values()):,}", splits),
        ("Classes", str(len(names)), _few(names)),
        ("Time", duration(settings.seconds), f"started {compact(settings.started)}"),
    ]


def _few(names: Sequence[str], limit: int = 6) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _calm(data: DataFacts) -> bool:
    """Whether the checks found nothing."""
    return not (data.warnings or data.quarantine)


def _totals(data: DataFacts) -> dict[str, int]:
    return {split: sum(images.values()) for split, images in data.counts.items()}


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


def _figures(facts: RunFacts, detail: Mapping[str, Any] | None) -> dict[str, str]:
    """Returns name -> SVG of every figure there are numbers for."""
    drawn = {"Images per class": charts.class_balance(facts.data.counts)}
    history = [dataclasses.asdict(row) for row in facts.history]
    if history:
        drawn["Loss by epoch"] = charts.learning_curve(history, "loss")
        drawn["Accuracy by epoch"] = charts.learning_curve(history, "accuracy")
    if detail is not None:
        drawn["Recall by class"] = charts.recall_bars(detail["per_class"])
        drawn["Confusion matrix"] = charts.confusion_matrix(
            detail["confusion"], detail["class_names"]
        )
        drawn["Reliability"] = charts.reliability_diagram(detail["reliability"])
    return {title: figures.to_svg(figure, title) for title, figure in drawn.items()}


def _tile(picture: Picture) -> dict[str, Any]:
    """Returns what the page shows of a picture; a tile that is not right is red."""
    uri, tiny = _data_uri(picture.image)
    right = picture.true == picture.predicted
    name = Path(picture.file).name
    return {"picture": picture, "right": right, "name": name, "uri": uri, "tiny": tiny}


def _data_uri(pixels: np.ndarray) -> tuple[str, bool]:
    """Returns a thumbnail and whether it is so small that its pixels should stay sharp."""
    pixels = pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3]
    image = Image.fromarray(pixels).convert("RGB")
    tiny = max(image.size) <= 64
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return html.data_uri(image, "png" if tiny else "jpeg"), tiny


def _settings(settings: Settings) -> dict[str, Any]:
    """Returns the rows of the table of settings: each phase has its own, and so has a stop."""
    rows = dataclasses.asdict(settings)
    del rows["phases"], rows["stopped"]
    rows |= {f"phase {name}": words for name, words in settings.phases.items()}
    return rows | ({"stopped": settings.stopped} if settings.stopped else {})
