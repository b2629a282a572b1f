"""Figures of the label check: the map of the data set, and the learning curve it leads to."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tlkit.evaluation.more_images import Curve
from tlkit.pages.figures import BLUE, GRAY, GREEN, INK, ORANGE, STYLE, canvas

NAMED = 20  # classes a legend can hold
_RING: Any = {"facecolor": "none", "edgecolor": INK, "linewidth": 1.4}


@matplotlib.rc_context(STYLE)
def data_map(
    points: np.ndarray, labels: np.ndarray, class_names: Sequence[str], doubtful: np.ndarray
) -> Figure:
    """Draws a map of images, coloured by class, with a ring around each doubtful label.

    Args:
        points: [n, 2], see `tlkit.inspection.data_map`.
        labels: int [n], positions in `class_names`.
        doubtful: bool [n].
    """
    figure, axes = canvas(7.2, 5.6)
    size = float(np.clip(12_000 / max(len(points), 1), 5, 40))
    for label, colour in zip(np.unique(labels), _colours(np.unique(labels)), strict=True):
        mine = labels == label
        name = str(class_names[label]).replace("$", r"\$")
        axes.scatter(
            points[mine, 0],
            points[mine, 1],
            s=size,
            color=colour,
            linewidth=0,
            alpha=0.8,
            label=name,
        )
    if doubtful.any():
        ringed = points[doubtful]
        axes.scatter(ringed[:, 0], ringed[:, 1], s=3.5 * size, label="label in doubt", **_RING)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if len(np.unique(labels)) <= NAMED:
        figure.legend(loc="outside right upper", handlelength=1)
    return figure


@matplotlib.rc_context(STYLE)
def more_images(curve: Curve) -> Figure:
    """Draws the error against the number of images: measured, fitted, and to four times as many.

    Args:
        curve: Result of `tlkit.evaluation.more_images`.
    """
    figure, axes = canvas(5.6, 3.5)
    fitted, low, high = 100 * curve.fitted
    axes.fill_between(curve.grid, low, high, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(curve.grid, fitted, color=BLUE, label="a + b n^-c, 95 %")
    spread = 100 * np.stack([curve.errors - curve.low, curve.high - curve.errors])
    axes.errorbar(
        curve.sizes, 100 * curve.errors, np.maximum(spread, 0), color=ORANGE, fmt="o",
        markersize=4, linewidth=1.2, label="measured",
    )  # fmt: skip
    for times, colour in ((1, GRAY), (2, GREEN)):
        axes.axvline(times * curve.count, color=colour, linestyle=":", linewidth=1.4)
        words = f"{'now' if times == 1 else 'twice'}\n{times * curve.count:,}"
        place = (times * curve.count, 0.98)
        axes.annotate(words, place, (3, 0), ("data", "axes fraction"), "offset points",
                      va="top", fontsize=8, color=INK)  # fmt: skip
    axes.set(xlabel="images", ylabel="error, %", xscale="log", ylim=(0, None))
    axes.set_xticks(curve.sizes[::2], [f"{size:,}" for size in curve.sizes[::2]])
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.legend(loc="lower left", handlelength=1.4)
    return figure


def _colours(labels: np.ndarray) -> list:
    """Returns one colour per class: ten that differ clearly, else a circle of hues."""
    if len(labels) <= 10:
        return [matplotlib.colormaps["tab10"](i) for i in range(len(labels))]
    return [matplotlib.colormaps["hsv"](i / len(labels)) for i in range(len(labels))]
