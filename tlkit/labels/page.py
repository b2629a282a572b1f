"""The page of a label check: pictures in doubt, the map and the learning curve, in one file."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkit import files
from tlkit.images import pictures
from tlkit.labels import charts
from tlkit.labels.result import LabelCheck
from tlkit.labels.worklist import write_csv
from tlkit.pages import figures, html

SHOWN = 200  # pictures on the page; the CSV holds all


LIST, PAGE = "worklist.csv", "labels.html"


def write(check: LabelCheck, folder: str | os.PathLike[str]) -> Path:
    """Writes `worklist.csv` and `labels.html` into `folder`; returns the page's path.

    Raises:
        TlkitError: The folder holds a worklist with marks, which would be lost.
    """
    folder = Path(folder)
    write_csv(check.worklist, folder / LIST)
    files.write_text(folder / PAGE, render(check))
    return folder / PAGE


def render(check: LabelCheck) -> str:
    """Returns the page as HTML: no network, no scripts, every picture inside."""
    return html.render("labels.html", _context(check))


def _context(check: LabelCheck) -> dict[str, Any]:
    work = check.worklist
    return {
        "title": "Labels to look at",
        "summary": work.summary(),
        "tiles": [_tile(check, doubt) for doubt in work.doubts[:SHOWN]],
        "total": len(work.doubts),
        "pairs": _pairs(check),
        "curve": "" if check.curve is None else check.curve.summary(),
        "map_note": "" if check.plane is None else check.plane.note,
        "notes": check.notes,
        "figures": _figures(check),
    }


def _tile(check: LabelCheck, doubt) -> dict[str, Any]:
    pixels = pictures.picture(check.images.table.read(doubt.row), 200)
    name = Path(doubt.file).name
    return {"doubt": doubt, "uri": html.data_uri(Image.fromarray(pixels)), "name": name}


def _pairs(check: LabelCheck, most: int = 10) -> list[tuple[str, str, int]]:
    """Returns the most frequent (given label, suggested label, images) of the list."""
    counts: dict[tuple[str, str], int] = {}
    for doubt in check.worklist.doubts:
        if doubt.suggested:
            key = (doubt.label, doubt.suggested)
            counts[key] = counts.get(key, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(*pair, count) for pair, count in ranked[:most]]


def _figures(check: LabelCheck) -> dict[str, str]:
    drawn = {}
    if check.plane is not None:
        rows = check.plane.rows
        doubtful = np.isin(rows, [doubt.row for doubt in check.worklist.doubts])
        names = check.images.class_names
        drawn["Map of the images"] = charts.data_map(
            check.plane.points, check.images.labels[rows], names, doubtful
        )
    if check.curve is not None:
        drawn["Error by number of images"] = charts.more_images(check.curve)
    return {title: figures.to_svg(figure, title) for title, figure in drawn.items()}
