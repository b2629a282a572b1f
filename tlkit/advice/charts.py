"""Figures of the advice page: accuracy against cost, and what each stage is worth."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from tlkit.advice.candidates import ALL, Candidate
from tlkit.pages import figures


@matplotlib.rc_context(figures.STYLE)
def accuracy_against_cost(candidates: Sequence[Candidate]) -> Figure:
    """Draws linear probes with intervals against multiply-adds; area is parameters.

    As in Canziani, Paszke and Culurciello (2016), figure 2, but on the user's own images.
    """
    figure, axes = figures.canvas(5.6, 3.6)
    adds = np.array([max(one.cost.multiply_adds, 1) for one in candidates]) / 1e6
    size = np.array([one.cost.parameters for one in candidates]) / 1e6
    for x, area, one in zip(adds, size, candidates, strict=True):
        found = one.top.linear
        value, low, high = 100 * found.value, 100 * found.low, 100 * found.high
        colour = figures.BLUE if one.tied else figures.GRAY
        axes.plot([x, x], [low, high], color=colour, linewidth=1)
        axes.scatter([x], [value], s=30 + 40 * area, color=colour, alpha=0.6)
        axes.annotate(one.name, (x, value), xytext=(8, 4), textcoords="offset points")
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if len(adds) == 1 or adds.max() < 2 * adds.min():  # a log axis needs room for a tick
        axes.set_xlim(adds.min() / 10, adds.max() * 10)
    axes.set(xlabel="million multiply-adds an image", ylabel="linear probe, %")
    axes.margins(x=0.25)
    axes.grid(axis="y")
    return figure


@matplotlib.rc_context(figures.STYLE)
def stages(candidate: Candidate) -> Figure:
    """Draws linear probe and nearest neighbours by stage, with 95 % intervals."""
    figure, axes = figures.canvas(5.6, 3.2)
    names = [name for name in candidate.stages if name != ALL]
    for kind, words, colour, aside in (
        ("linear", "linear probe", figures.BLUE, -0.06),
        ("knn", "nearest neighbours", figures.ORANGE, 0.06),
    ):
        found = [getattr(candidate.stages[name], kind) for name in names]
        middle = np.array([100 * one.value for one in found])
        low, high = (
            np.array([100 * getattr(one, end) for one in found]) for end in ("low", "high")
        )
        places = np.arange(len(names)) + aside
        around = np.maximum([middle - low, high - middle], 0)
        axes.errorbar(places, middle, around, color=colour, marker="o", markersize=4, label=words)
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="accuracy, %", title=candidate.name)
    axes.grid(axis="y")
    figures.legend(axes, loc="best")
    return figure
