"""What the comparing recipes share: options, few images, one plan, paired intervals, a plot.

An accuracy is a mean over seeds and test images, and so is a difference, taken image by image. An
interval holds 95 % of the means that appear when seeds and images are both drawn with replacement.
"""

import argparse
import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import tlkit

DIGITS = "digits"
HEAD = tlkit.Head("linear", dropout=0.0, init="scaled")  # the last layer of a classic net
COLOURS = matplotlib.color_sequences["tab10"]
Interval = tuple[float, float, float]  # mean, low, high


def options(doc: str, name: str, data: str = DIGITS) -> argparse.ArgumentParser:
    """Returns the options that all these recipes have; a recipe adds its own."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data", default=data, help="digits, a folder, CSV or TFDS name")
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="run folders")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions on the same split")
    parser.add_argument("--quick", action="store_true", help="a smoke test on embedded digits")
    return parser


def read(source: str) -> tlkit.Table:
    """Returns the rows of a source; `digits` are scikit-learn's 1,797 of 8x8 pixels."""
    if source != DIGITS:
        return tlkit.read_source(source)
    from sklearn.datasets import load_digits

    found = load_digits()
    return tlkit.from_arrays(
        (found.images * 255 / 16).astype(np.uint8), found.target, source=source
    )


def few(rows: tlkit.Table, learn: int, test: int, classes: Sequence[str] = ()) -> tlkit.Data:
    """Loads at most so many images of each class, the same ones every time.

    Args:
        learn: Images of each class to train on; a fifth of them validates.
        test: Images of each class to test on, of the test split where there is one.
        classes: Which classes, in the order of the labels; all by default.
    """
    names = tuple(classes) or rows.class_names
    order = np.random.default_rng(0).permutation(len(rows))
    chosen: dict[str, list[int]] = {"train": [], "test": []}
    for name in names:
        mine = order[rows.labels[order] == rows.class_names.index(name)]
        given = None if rows.split is None else rows.split[mine] == "test"
        chosen["train"] += (mine if given is None else mine[~given])[:learn].tolist()
        chosen["test"] += (mine[learn:] if given is None else mine[given])[:test].tolist()
    kept = rows.select(chosen["train"] + chosen["test"])
    labels = np.array([names.index(rows.class_names[label]) for label in kept.labels])
    split = np.repeat(list(chosen), [len(part) for part in chosen.values()])
    kept = dataclasses.replace(kept, labels=labels, class_names=names, split=split)
    return tlkit.load_images(kept, val_share=0.2, cache=False)


def scratch(epochs: int, **changes: Any) -> tlkit.Phase:
    """Returns the plan all nets of a comparison get: plain images, hard labels, one rate."""
    plain = {"augment": "none", "views": 1, "smoothing": 0.0, "decay": 1.0, "patience": epochs}
    plan: dict[str, Any] = {
        "name": "all",
        "unfreeze": "all",
        "batch_norm": "train",
        "epochs": epochs,
    } | plain
    return tlkit.Phase(**(plan | changes))


def train(model: tlkit.Classifier, data: tlkit.Data, phase: tlkit.Phase, out: Path) -> tlkit.Run:
    """Trains one model of a comparison and prints one line; the number in `out` is the seed."""
    began = time.perf_counter()
    with tlkit.silenced():
        run = tlkit.fine_tune(model, data, [phase], out=out, seed=int(out.name))
    accuracy = 100 * right(run).mean()
    loss, seconds = run.history[-1]["loss"], time.perf_counter() - began
    print(f"{out}: test {accuracy:.1f} %, training loss {loss:.3f}, {seconds:.0f} s", flush=True)
    return run


def right(run: tlkit.Run) -> np.ndarray:
    """Returns whether each test image is recognised, bool [images]."""
    images = run.require_data().test
    rows = tlkit.pixel_rows(tlkit.Store.default(), images, run.model.rule)
    return run.model.logits(rows).argmax(-1) == images.labels


def interval(values: Any) -> Interval:
    """Returns mean, low and high of values [seeds, images]; of a difference if given one."""
    found = tlkit.interval(values)
    return found["value"], found["low"], found["high"]


def accuracies(results: Mapping[str, np.ndarray]) -> dict[str, Interval]:
    """Prints and returns the accuracy of each row of bool [seeds, images], in percent."""
    found = {name: interval(100.0 * values) for name, values in results.items()}
    for name, (mean, low, high) in found.items():
        print(f"{name:<28} {mean:5.1f} % ({low:.1f} to {high:.1f})")
    return found


def differences(results: Mapping[str, np.ndarray], pairs: Iterable[tuple[str, str]]) -> None:
    """Prints first minus second of each pair in percentage points."""
    for first, second in pairs:
        mean, low, high = interval(100.0 * results[first] - 100.0 * results[second])
        verdict = "cannot tell" if low <= 0 <= high else "yes" if mean > 0 else "the other way"
        print(f"{first} above {second}: {mean:+.1f} ({low:+.1f} to {high:+.1f}): {verdict}")


def plot(path: Path, lines: Mapping[str, Mapping[Any, Interval]], x: str, y: str) -> None:
    """Saves a PNG of series of x value -> interval; the series "a+" has the colour of "a"."""
    colours = dict(zip(dict.fromkeys(n.rstrip("+") for n in lines), COLOURS, strict=False))
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        for name, points in lines.items():
            named = all(isinstance(place, str) for place in points)
            style = "o" if named else "o--" if name.endswith("+") else "o-"
            mean, low, high = np.array(list(points.values())).T
            reach, colour = np.maximum([mean - low, high - mean], 0), colours[name.rstrip("+")]
            axes.errorbar(list(points), mean, reach, None, style, c=colour, capsize=3, label=name)
        axes.set(xlabel=x, ylabel=y)
        axes.grid(axis="y")
        axes.set_xticks(list(points))  # all series have the same
        if len(lines) > 1:
            figure.legend(loc="outside right upper", fontsize=8, handlelength=3)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, facecolor="white")
    print(f"Plot: {path}")
