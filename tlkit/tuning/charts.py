"""The figures of a search: progress, parallel coordinates, learning curves, importance."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tlkit.pages.figures import BLUE, GRAY, ORANGE, RED, STYLE, canvas
from tlkit.tuning.space import Row, Space
from tlkit.tuning.study import Trial

FEW = 15  # trials below which a forest cannot say what matters


@matplotlib.rc_context(STYLE)
def progress(trials: Sequence[Trial]) -> Figure:
    """Draws the loss of each trial in order, and the least so far; crosses are failed trials."""
    figure, axes = canvas(5.6, 3.3)
    done = [trial for trial in trials if trial.score is not None]
    losses = [float(trial.loss or 0.0) for trial in done]
    axes.plot([t.number for t in done], losses, "o", color=GRAY, markersize=4)
    if done:
        best = np.minimum.accumulate(losses)
        axes.step([t.number for t in done], best, where="post", color=BLUE, label="best so far")
        axes.set_ylim(*_limits(losses))
        axes.legend(loc="upper right")
    lost = [trial.number for trial in trials if trial.score is None]
    axes.plot(lost, [axes.get_ylim()[1]] * len(lost), "x", color=RED, clip_on=False)
    axes.set(xlabel="trial", ylabel="validation log loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    return figure


@matplotlib.rc_context(STYLE)
def curves(trials: Sequence[Trial]) -> Figure:
    """Draws validation loss over epochs: the best trial blue, the default orange."""
    figure, axes = canvas(5.6, 3.3)
    order = sorted((t for t in trials if t.curve), key=lambda t: -(t.score or math.inf))
    for trial in order:
        is_best = trial is order[-1] and trial.score is not None
        colour = BLUE if is_best else ORANGE if trial.number == 0 else GRAY
        named = (
            f"trial {trial.number}, the best"
            if is_best
            else "default"
            if not trial.number
            else None
        )
        epochs = np.arange(1, len(trial.curve) + 1)
        axes.plot(epochs, trial.curve, color=colour, alpha=1.0 if named else 0.35, label=named)
    values = [value for trial in order for value in trial.curve]
    if values:
        axes.set_ylim(*_limits(values))
        axes.legend(loc="upper right")
    axes.set(xlabel="epoch", ylabel="validation loss while training")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    return figure


@matplotlib.rc_context(STYLE)
def parallel(trials: Sequence[Trial], space: Space) -> Figure:
    """Draws a line for each trial through its settings; the best fifth is blue, the default orange.

    A row that did not matter to a trial leaves a gap in its line.
    """
    rows = space.searched
    done = sorted((t for t in trials if t.score is not None), key=lambda t: -float(t.loss or 0))
    figure, axes = canvas(max(1.15 * len(rows) + 1.2, 4.0), 3.9)
    best = max(len(done) // 5, 1)
    for place, trial in enumerate(done):
        heights = [_height(row, trial.settings.get(row.name), trial.number) for row in rows]
        is_best, is_default = place >= len(done) - best, trial.number == 0
        axes.plot(
            range(len(rows)), heights, marker="o", markersize=3, linewidth=1.6 if is_best else 1.0,
            color=ORANGE if is_default else BLUE if is_best else GRAY,
            alpha=0.9 if is_best or is_default else 0.3,
        )  # fmt: skip
    _name_axes(axes, rows)
    return figure


def _name_axes(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_xticks(range(len(rows)), [row.name for row in rows])
    axes.set(ylim=(-0.06, 1.06), xlim=(-0.3, len(rows) - 0.3), yticks=[])
    axes.spines["left"].set_visible(False)
    for place, row in enumerate(rows):
        axes.axvline(place, color=GRAY, linewidth=0.6, alpha=0.5)
        marks = row.values or (row.low, row.high)
        for mark in marks:
            text = f"{mark:.2g}" if isinstance(mark, float) else str(mark)
            axes.text(place + 0.04, _height(row, mark), text, fontsize=7.5, va="bottom")


def _height(row: Row, value: Any, jitter: int = 0) -> float:
    """Returns where a value lies on the axis of its row, 0 to 1; NaN if it does not matter."""
    if value is None and None not in row.values:
        return float("nan")
    if row.values:
        spread = 0.03 * (jitter * 0.618 % 1 - 0.5)  # so that equal choices stay apart
        return row.values.index(value) / max(len(row.values) - 1, 1) + spread
    if row.log:
        return math.log(value / row.low) / math.log(row.high / row.low)
    return (value - row.low) / (row.high - row.low)


@matplotlib.rc_context(STYLE)
def importance(found: Mapping[str, Any]) -> Figure:
    """Draws what `importances` returned, the most important row on top."""
    rows = sorted(found["rows"].items(), key=lambda item: item[1][0])
    figure, axes = canvas(5.6, 0.9 + 0.26 * len(rows))
    names, values = [name for name, _ in rows], np.array([value for _, value in rows])
    axes.barh(names, values[:, 0], xerr=values[:, 1], color=BLUE, ecolor=GRAY, height=0.6)
    axes.set(xlabel="loss of fit when the row is shuffled")
    axes.grid(axis="x")
    return figure


def importances(trials: Sequence[Trial], space: Space) -> dict[str, Any]:
    """Returns how much each row matters to a random forest fitted to the trials.

    The forest (Breiman 2001) predicts log loss from settings. A row's importance is how much the
    fit, R squared, loses when its column is shuffled, with the standard deviation over shuffles.
    `oob` is R squared on trials each tree has not seen: near or below 0, the forest has learnt
    nothing that holds beyond these trials, and neither can a reader.

    Returns:
        `rows`: name to (mean, deviation), `oob`, and `note` saying why there is nothing.
    """
    done = [t for t in trials if t.score is not None and t.share >= 1]
    if len(done) < FEW or not space.searched:
        return {"rows": {}, "note": f"{len(done)} full trials are too few: {FEW} are needed."}
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    x = np.array([[_known(row, t.settings.get(row.name)) for row in space.searched] for t in done])
    y = np.log(np.maximum([float(t.loss or 0) for t in done], 1e-9))
    forest = RandomForestRegressor(100, oob_score=True, random_state=0).fit(x, y)
    shuffled = permutation_importance(forest, x, y, n_repeats=10, random_state=0)
    spread = zip(shuffled.importances_mean, shuffled.importances_std, strict=True)
    names = [row.name for row in space.searched]
    rows = {name: (float(m), float(s)) for name, (m, s) in zip(names, spread, strict=True)}
    oob = float(forest.oob_score_)
    note = "" if oob > 0.1 else (
        f"On trials it has not seen the forest explains nothing (R squared {oob:.2f}): these "
        "importances may be chance."
    )  # fmt: skip
    return {"rows": rows, "oob": oob, "note": note}


def _known(row: Row, value: Any) -> float:
    height = _height(row, value)
    return _height(row, row.default) if math.isnan(height) else height


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Returns a range that shows the good ones: one diverged trial must not flatten the rest."""
    finite = np.array([value for value in values if math.isfinite(value)] or [0.0, 1.0])
    top = min(finite.max(), 3 * np.median(finite) + 1e-3)
    return 0.9 * finite.min(), 1.05 * max(top, finite.min() * 1.2 + 1e-3)
