"""Arrays to matplotlib figures, and figures to SVG that takes its ink from the page around it."""

from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tlkit.pages.figures import BLUE, GRAY, GREEN, INK, ORANGE, RED, SERIES, STYLE, canvas, legend

SHOWN = 60  # most classes a matrix can name
BARS = 40


@matplotlib.rc_context(STYLE)
def learning_curve(history: Sequence[Mapping[str, Any]], quantity: str) -> Figure:
    """Draws `quantity` and `val_<quantity>` over all epochs, one shaded band per phase.

    The marked epoch is the row with a true `best`, else the one with the least `val_loss`.

    Args:
        history: Rows in order of time: the quantities, `phase` and `best`; missing values leave
            gaps.
        quantity: Such as `loss` or `accuracy`.
    """
    figure, axes = canvas(5.6, 3.3)
    epochs = np.arange(1, len(history) + 1)
    marker = "o" if len(history) <= 30 else None
    for name, words, colour in (
        (quantity, "training", ORANGE),
        (f"val_{quantity}", "validation", BLUE),
    ):
        values = _column(history, name)
        if np.isfinite(values).any():
            axes.plot(epochs, values, color=colour, marker=marker, markersize=3.5, label=words)
    _shade_phases(axes, history)
    _mark_best(axes, history, f"val_{quantity}")
    axes.set(xlabel="epoch", ylabel=quantity, xlim=(0.5, max(len(history), 1) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    legend(axes, loc="best", handlelength=1.4)
    return figure


@matplotlib.rc_context(STYLE)
def confusion_matrix(matrix: Any, class_names: Sequence[str]) -> Figure:
    """Draws true classes as rows; shade is the share of the row, right ones blue, wrong ones red.

    Counts are written up to 20 classes. Above 60 the 40 classes with most mistakes are drawn.

    Args:
        matrix: [classes, classes] counts, rows are true classes.
    """
    matrix = np.asarray(matrix)
    kept = _worst_classes(matrix) if len(matrix) > SHOWN else list(range(len(matrix)))
    names = [_short(class_names[i]) for i in kept]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shares, counts = shares[np.ix_(kept, kept)], matrix[np.ix_(kept, kept)]
    side = float(np.clip(0.46 * len(kept), 1.6, 8.6))
    figure, axes = canvas(side + 1.7, side + 1.5)
    axes.imshow(_shades(shares), interpolation="none", aspect="equal")
    _write_counts(axes, counts, shares)
    size = float(np.clip(300 / len(kept), 6.8, 9))
    axes.set_xticks(range(len(kept)), names, rotation=90 if _long(names) else 0, fontsize=size)
    axes.set_yticks(range(len(kept)), names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")
    if len(kept) < len(matrix):
        axes.set_title(f"the {len(kept)} of {len(matrix)} classes with most mistakes")
    axes.tick_params(length=0)
    _grid_lines(axes, len(kept))
    return figure


@matplotlib.rc_context(STYLE)
def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws how often the model is right against how sure it says it is, with counts below.

    Args:
        bins: `reliability` of `tlkit.evaluation.metrics.evaluate`.
    """
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    low, high, count, said, right = (
        np.array([row[key] for row in bins], float)
        for key in ("low", "high", "count", "confidence", "accuracy")
    )
    centre, width = (low + high) / 2, (high - low) * 0.92
    faint = np.where(count < 10, 0.35, 0.85)  # a handful of images says little
    for colour, words, start, stop in (
        (BLUE, None, 0 * right, np.minimum(said, right)),
        (GREEN, "right more often than it says", said, np.maximum(said, right)),
        (RED, "right less often than it says", right, np.maximum(said, right)),
    ):
        shades = [matplotlib.colors.to_rgba(colour, alpha) for alpha in faint]
        top.bar(centre, stop - start, width, start, color=shades, linewidth=0)
        if words and (stop > start).any():
            top.bar([0], [0], color=colour, label=words)
    top.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1)
    top.set(ylabel="share right", ylim=(0, 1), xlim=(0, 1))
    legend(figure, loc="outside upper left", handlelength=1)
    bottom.bar(centre, count, width, color=GRAY)
    bottom.set(xlabel="confidence", ylabel="images")
    bottom.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    return figure


@matplotlib.rc_context(STYLE)
def class_balance(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draws the images of each class, one stacked bar over the splits; the 40 smallest at most.

    Args:
        counts: Split name to class name to number of images.
    """
    totals: dict[str, int] = {}
    for images in counts.values():
        for name, count in images.items():
            totals[name] = totals.get(name, 0) + count
    names = sorted(totals, key=lambda name: -totals[name])[-BARS:]
    figure, axes = _bars_canvas(names, len(totals), "smallest")
    left = np.zeros(len(names))
    for (split, images), colour in zip(counts.items(), cycle(SERIES), strict=False):
        width = np.array([images.get(name, 0) for name in names], float)
        axes.barh(range(len(names)), width, 0.72, left, color=colour, label=split)
        left += width
    axes.set_xlabel("images")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend(figure, loc="outside upper right", ncols=len(counts), handlelength=1)
    return figure


@matplotlib.rc_context(STYLE)
def recall_bars(per_class: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the share of each class that is found, lowest first; the 40 lowest at most.

    Args:
        per_class: `per_class` of `tlkit.evaluation.metrics.evaluate`; classes without images are
            left out.
    """
    present = [row for row in per_class if row["recall"] is not None]
    rows = sorted(present, key=lambda row: row["recall"])[:BARS]
    figure, axes = _bars_canvas([row["name"] for row in rows], len(present), "lowest")
    recall = np.array([row["recall"] for row in rows])
    axes.barh(range(len(rows)), np.ones(len(rows)), 0.72, color=GRAY, alpha=0.15)
    axes.barh(range(len(rows)), recall, 0.72, color=BLUE)
    for place, (share, row) in enumerate(zip(recall, rows, strict=True)):
        text = f"{100 * share:.0f} % of {row['support']:,}"
        axes.text(1.02, place, text, va="center", fontsize=8)
    axes.set(xlim=(0, 1.25), xlabel="recall", xticks=np.linspace(0, 1, 5))
    return figure


def _bars_canvas(names: Sequence[str], total: int, which: str) -> tuple[Figure, Axes]:
    """Returns axes for one horizontal bar per name, the first on top."""
    figure, axes = canvas(5.6, 0.9 + 0.24 * max(len(names), 2))
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    if len(names) < total:
        axes.set_title(f"the {len(names)} {which} of {total} classes")
    return figure, axes


def _column(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    values = [row.get(name) for row in history]
    return np.array([np.nan if value is None else value for value in values], float)


def _shade_phases(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    names = [str(row.get("phase", "")) for row in history]
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    for band, (start, stop) in enumerate(pairwise([*starts, len(names)])):
        if band % 2:
            axes.axvspan(start + 0.5, stop + 0.5, color=GRAY, alpha=0.13, linewidth=0)
        axes.annotate(
            _short(names[start], 16),
            ((start + stop + 1) / 2, 1.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=8,
            color=GRAY,
        )


def _mark_best(axes: Axes, history: Sequence[Mapping[str, Any]], name: str) -> None:
    flagged = [i for i, row in enumerate(history) if row.get("best")]
    losses = _column(history, "val_loss")
    if not flagged and not np.isfinite(losses).any():
        return
    best = flagged[-1] if flagged else int(np.nanargmin(losses))
    axes.axvline(best + 1, color=GREEN, linestyle=":", linewidth=1.4)
    value = _column(history, name)[best]
    axes.plot(
        [best + 1],
        [value],
        color=GREEN,
        marker="o",
        markersize=8,
        markerfacecolor="none",
        markeredgewidth=1.8,
        linestyle="none",
        label=f"best, epoch {best + 1}",
    )


def _worst_classes(matrix: np.ndarray) -> list[int]:
    right = np.diag(matrix)
    mistakes = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * right
    return sorted(np.argsort(-mistakes, kind="stable")[:BARS].tolist())


def _shades(shares: np.ndarray) -> np.ndarray:
    """Returns RGBA [classes, classes, 4]: the hue says right or wrong, the opacity how often."""
    right = np.eye(len(shares), dtype=bool)[..., None]
    hue = np.where(right, matplotlib.colors.to_rgb(BLUE), matplotlib.colors.to_rgb(RED))
    # A root lifts rare mistakes, which are what one looks for, out of the background.
    opacity = np.where(right[..., 0], shares, np.sqrt(shares)) * 0.9
    return np.concatenate([hue, opacity[..., None]], axis=2)


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    if len(counts) > 20:
        return
    for (row, column), count in np.ndenumerate(counts):
        if count:
            shown = shares[row, column] if row == column else np.sqrt(shares[row, column])
            colour = "white" if shown > 0.55 else INK
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=8)


def _grid_lines(axes: Axes, classes: int) -> None:
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", alpha=0.3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _short(name: str, limit: int = 20) -> str:
    name = str(name).replace("$", r"\$")  # a lone pair would start mathematics
    return name if len(name) <= limit else f"{name[: limit - 8]}…{name[-7:]}"


def _long(names: Sequence[str]) -> bool:
    """Whether names side by side under the matrix would run into each other."""
    return len(names) > 20 or max(map(len, names)) > 6


@matplotlib.rc_context(STYLE)
def range_test(rates: Any, losses: Any, smooth: Any, suggestion: float | None) -> Figure:
    """Draws the loss against the learning rate, and the suggested rate if there is one."""
    figure, axes = canvas(6.4, 3.6)
    axes.plot(rates, losses, color=GRAY, linewidth=0.8, label="each step")
    axes.plot(rates, smooth, color=BLUE, linewidth=1.8, label="smoothed")
    top = float(np.nanmax(smooth[: int(np.nanargmin(smooth)) + 1]))
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss (nats)")
    axes.set_ylim(0, 1.4 * top)
    if suggestion is not None:
        label = f"steepest fall: {suggestion:.2g}"
        axes.axvline(suggestion, color=ORANGE, linestyle="--", linewidth=1.2, label=label)
    legend(axes, loc="upper left")
    return figure
