"""Numbers about predictions: headlines with intervals, tables, worst cases. Arrays to dicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.errors import TlkitError
from tlkit.evaluation.bootstrap import TAIL, resamples
from tlkit.evaluation.bootstrap import paired_difference as paired_difference
from tlkit.evaluation.calibration import fit_temperature as fit_temperature
from tlkit.evaluation.calibration import softmax as softmax
from tlkit.evaluation.tables import (
    BINS,
    Scored,
    bin_of,
    confusion,
    most_confused,
    per_class,
    reliability,
    top_losses,
)

HEADLINES = {  # name: (words, shown in percent)
    "accuracy": ("accuracy", True),
    "balanced_accuracy": ("balanced accuracy", True),
    "macro_f1": ("macro F1", True),
    "top3_accuracy": ("top-3 accuracy", True),
    "log_loss": ("log loss", False),
    "ece": ("calibration error", True),
}
_PROPORTIONS = ("accuracy", "balanced_accuracy", "macro_f1", "top3_accuracy")


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found. `print` shows the summary, `result["accuracy"]` reads one entry."""

    values: dict[str, Any]

    def __str__(self) -> str:
        return summary(self.values)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def evaluate(
    probabilities: Any,
    labels: Any,
    class_names: Sequence[str],
    *,
    files: Sequence[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores predicted probabilities and returns plain values that `json` can write.

    Every headline is `{"value", "low", "high"}`: a 95 % percentile interval over images drawn
    with replacement (Efron 1979). Two corrections keep it honest. Where no image is wrong every
    resample is perfect too, so the exact binomial bound is given instead. The calibration error
    of a resample is larger than that of the sample, so its draws are moved to centre on the value.

    A class without images cannot be recalled: it is listed in `absent_classes`, has None in
    `per_class`, and balanced accuracy and macro F1 are means over the classes that are present.

    Args:
        probabilities: [images, classes], rows sum to 1. Ties go to the first class.
        labels: [images] integers below the number of classes.
        files: Names of the images for `top_losses`; their index where not given.
        bootstrap: Number of resamples; 0 leaves `low` and `high` None.

    Raises:
        TlkitError: Shapes do not agree, there are no images, or a row is no distribution.
    """
    probabilities, labels = _checked(probabilities, labels, class_names, files)
    scored = _score(probabilities, labels)
    support = np.bincount(labels, minlength=len(class_names))
    absent = [name for name, count in zip(class_names, support, strict=True) if not count]
    matrix = confusion(scored, len(class_names))
    return {
        "n": len(labels),
        "class_names": list(class_names),
        **_headlines(scored, bootstrap, seed),
        "bootstrap": bootstrap,
        "absent_classes": absent,
        "mean_confidence": float(scored.confidence.mean()),
        "per_class": per_class(scored, class_names),
        "confusion": matrix.tolist(),
        "most_confused": most_confused(matrix, class_names),
        "top_losses": top_losses(scored, class_names, files),
        "reliability": reliability(scored),
    }


def summary(values: Mapping[str, Any]) -> str:
    """Returns the few lines a person reads first about a result of `evaluate`."""
    lines = [f"{values['n']:,} images, {len(values['class_names'])} classes"]
    for name, (words, _) in HEADLINES.items():
        if name in values:
            lines.append(f"  {words:<18} {headline_text(name, values[name])}")
    if values["bootstrap"]:
        lines.append(f"In brackets: 95 % bootstrap interval, {values['bootstrap']:,} resamples.")
    return "\n".join(lines + _remarks(values))


def headline_text(name: str, headline: Mapping[str, Any]) -> str:
    """Returns such as `91.2 % (88.6 to 93.6)` for one entry of `HEADLINES`."""
    scale, digits, unit = (100, 1, " %") if HEADLINES[name][1] else (1, 3, "")
    text = f"{headline['value'] * scale:.{digits}f}{unit}"
    low, high = headline["low"], headline["high"]
    if low is None or high is None:
        return text
    return f"{text} ({low * scale:.{digits}f} to {high * scale:.{digits}f})"


def _checked(probabilities, labels, class_names, files) -> tuple[np.ndarray, np.ndarray]:
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if not labels.size:
        raise TlkitError("There are no images to evaluate.")
    expected = (len(labels), len(class_names))
    if labels.ndim != 1 or probabilities.shape != expected:
        raise TlkitError(
            f"Expected probabilities of shape {expected} for {len(class_names)} classes and "
            f"labels of shape ({len(labels)},). Received {probabilities.shape} and {labels.shape}."
        )
    if files is not None and len(files) != len(labels):
        raise TlkitError(f"There are {len(labels)} labels but {len(files)} file names.")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(class_names):
        raise TlkitError(
            f"Labels must be integers from 0 to {len(class_names) - 1}. "
            f"Received {labels.dtype} from {labels.min()} to {labels.max()}."
        )
    _check_rows(probabilities, files)
    return probabilities, labels


def _check_rows(probabilities: np.ndarray, files: Sequence[str] | None) -> None:
    sums = probabilities.sum(axis=1)
    good = (probabilities >= 0).all(axis=1) & (np.abs(sums - 1) < 1e-3)  # False for NaN
    if not good.all():
        row = int(np.argmin(good))
        raise TlkitError(
            f"Probabilities must be at least 0 and sum to 1. Image {files[row] if files else row} "
            f"has the sum {sums[row]:.4g}. Logits go through `softmax` first."
        )


def _score(probabilities: np.ndarray, labels: np.ndarray) -> Scored:
    predicted = probabilities.argmax(axis=1)
    true_probability = probabilities[np.arange(len(labels)), labels]
    return Scored(
        probabilities,
        labels,
        predicted,
        probabilities.max(axis=1),
        predicted == labels,
        -np.log(np.clip(true_probability, np.finfo(np.float64).eps, 1)),
    )


def _headlines(scored: Scored, bootstrap: int, seed: int) -> dict[str, dict[str, float | None]]:
    columns = _columns(scored)
    n = len(scored.labels)
    values = _statistics(columns, np.ones((1, n)))
    draws = [_statistics(columns, weights) for weights in resamples(n, bootstrap, seed)]
    result = {}
    for name, value in values.items():
        drawn = np.concatenate([block[name] for block in draws]) if draws else None
        result[name] = _interval(name, float(value[0]), drawn, n)
    return result


def _columns(scored: Scored) -> dict[str, Any]:
    """Returns sparse [images, width] blocks whose weighted column sums give every headline."""
    labels, classes = scored.labels, scored.probabilities.shape[1]
    ones, hits = np.ones(len(labels)), scored.correct.astype(np.float64)
    blocks = {
        "support": _sparse(labels, ones, classes),
        "predicted": _sparse(scored.predicted, ones, classes),
        "hits": _sparse(labels, hits, classes),
        "gaps": _sparse(bin_of(scored.confidence), hits - scored.confidence, BINS),
        "loss": _sparse(0 * labels, scored.loss, 1),
    }
    if classes > 3:
        blocks["top3"] = _sparse(0 * labels, (_rank(scored) < 3).astype(np.float64), 1)
    return blocks


def _sparse(column: np.ndarray, values: np.ndarray, width: int) -> Any:
    """Returns a sparse [images, width] array with one value per row."""
    from scipy.sparse import csr_array

    rows = np.arange(len(column) + 1)
    return csr_array((values, column, rows), shape=(len(column), width))


def _statistics(columns: Mapping[str, Any], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Returns each headline [some] of images weighted by `weights` [some, images]."""
    n = weights.shape[1]
    sums = {name: (block.T @ weights.T).T for name, block in columns.items()}
    support, hits = sums["support"], sums["hits"]
    present = support > 0
    recall = np.divide(hits, support, out=np.zeros_like(hits), where=present)
    # Zero where absent: precision and recall in one quotient, 2 tp / (2 tp + fn + fp).
    f1 = np.where(present, 2 * hits / np.maximum(support + sums["predicted"], 1), 0)
    result = {
        "accuracy": hits.sum(axis=1) / n,
        "balanced_accuracy": recall.sum(axis=1) / present.sum(axis=1),
        "macro_f1": f1.sum(axis=1) / present.sum(axis=1),
        "log_loss": sums["loss"][:, 0] / n,
        "ece": np.abs(sums["gaps"]).sum(axis=1) / n,
    }
    return result | ({"top3_accuracy": sums["top3"][:, 0] / n} if "top3" in sums else {})


def _interval(name: str, value: float, draws: np.ndarray | None, n: int) -> dict[str, Any]:
    if draws is None:
        return {"value": value, "low": None, "high": None}
    if name == "ece":
        draws = np.maximum(draws + value - np.median(draws), 0)
    low, high = (float(limit) for limit in np.quantile(draws, [TAIL, 1 - TAIL]))
    # Clopper and Pearson 1934 for 0 wrong of n: resampling cannot see an error it never met.
    bound = TAIL ** (1 / n)
    if name in _PROPORTIONS:
        low, high = (bound if value == 1 else low), (1 - bound if value == 0 else high)
    return {"value": value, "low": low, "high": high}


def _rank(scored: Scored) -> np.ndarray:
    """Returns how many classes come before the true one, ties in the order of `argmax`."""
    true = scored.probabilities[np.arange(len(scored.labels)), scored.labels][:, None]
    earlier = np.arange(scored.probabilities.shape[1]) < scored.labels[:, None]
    ahead = (scored.probabilities > true) | ((scored.probabilities == true) & earlier)
    return ahead.sum(axis=1)


def _remarks(values: Mapping[str, Any]) -> list[str]:
    lines = []
    if values["most_confused"]:
        pairs = [f"{p['true']} as {p['predicted']} ({p['count']})" for p in values["most_confused"]]
        lines.append(f"Most confused: {', '.join(pairs[:3])}.")
    present = [row for row in values["per_class"] if row["support"]]
    weakest = min(present, key=lambda row: row["recall"])
    if weakest["recall"] < 1:
        share = f"{weakest['recall']:.0%} of {weakest['support']:,} images found"
        lines.append(f"Weakest class: {weakest['name']}, {share}.")
    if values["absent_classes"]:
        names = ", ".join(values["absent_classes"][:10])
        rest = ", ..." if len(values["absent_classes"]) > 10 else ""
        lines.append(
            f"No images of {names}{rest}: balanced accuracy and macro F1 are over "
            f"{len(present)} of {len(values['per_class'])} classes."
        )
    return lines
