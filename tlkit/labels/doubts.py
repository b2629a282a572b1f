"""Which labels to doubt, from what other images say about each image; nothing is changed.

Three kinds of evidence, each with its own score and one list for the user:

- Confident learning (Northcutt, Jiang and Chuang 2021): models that never saw an image are surer
  of another class than they usually are of that class.
- Copies of one picture under different labels: at least one of them is wrong.
- Images far from all others of their class in feature space.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tlkit.errors import TlkitError
from tlkit.labels import confident_learning, outliers
from tlkit.labels.worklist import Doubt, Worklist

# One piece of evidence: row, score, suggested label ("" for none), words.
_Reason = tuple[int, float, str, str]


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of n labelled images.

    Attributes:
        files: A name for each.
        labels: int64 [n], positions in `class_names`.
        class_names: The classes.
        probabilities: [n, classes], each row by models that saw neither the image nor a copy.
        features: [n, d].
        clusters: int64 [n]; copies of one picture share a number. None: no copies are known.
    """

    files: Sequence[str]
    labels: np.ndarray
    class_names: Sequence[str]
    probabilities: np.ndarray
    features: np.ndarray
    clusters: np.ndarray | None = None


def find(evidence: Evidence, rate: float = confident_learning.RATE) -> Worklist:
    """Returns the doubtful labels of `evidence`, worst first.

    Args:
        rate: Share of clean images that confident learning may list, see
            `tlkit.labels.confident_learning.label_errors`.

    Raises:
        TlkitError: Arrays of different lengths, probabilities that are none, or a bad rate.
    """
    _check(evidence, rate)
    labels = np.asarray(evidence.labels, np.int64)
    clean = confident_learning.clean(np.asarray(evidence.probabilities, np.float64), labels)
    probabilities = clean.probabilities
    evidence = dataclasses.replace(evidence, labels=labels, probabilities=probabilities)
    found: dict[int, list[_Reason]] = {}
    for kind in (_contradicted(evidence), _unlikely(evidence, clean, rate), _far(evidence)):
        for reason in kind:
            found.setdefault(reason[0], []).append(reason)
    doubts = [_doubt(evidence, reasons) for reasons in found.values()]
    doubts.sort(key=lambda doubt: (-doubt.score, doubt.file))
    joint = confident_learning.joint_estimate(probabilities, labels)
    return Worklist(tuple(doubts), len(labels), rate, clean.wrong, joint, clean.temperature)


def _contradicted(evidence: Evidence) -> Iterator[_Reason]:
    names = evidence.class_names
    for row, other, label in confident_learning.contradictions(
        evidence.labels, evidence.clusters, evidence.probabilities
    ):
        words = f"the same picture as {evidence.files[other]}, labelled {names[label]}"
        yield row, 1.0, names[label], words


def _unlikely(
    evidence: Evidence, clean: confident_learning.Clean, rate: float
) -> Iterator[_Reason]:
    labels, probabilities = evidence.labels, evidence.probabilities
    wrong, margins = confident_learning.label_errors(clean, labels, rate)
    best = confident_learning.best_other(probabilities, labels)
    for i in np.flatnonzero(wrong).tolist():
        better, given = evidence.class_names[best[i]], evidence.class_names[labels[i]]
        there, here = probabilities[i, best[i]], probabilities[i, labels[i]]
        words = f"looks like {better} ({there:.3f}), not like {given} ({here:.3f})"
        yield i, float(1 - margins[i]) / 2, better, words


def _far(evidence: Evidence) -> Iterator[_Reason]:
    labels, probabilities = evidence.labels, evidence.probabilities
    far = outliers.class_distance(evidence.features, labels, evidence.clusters)
    best = probabilities.argmax(1)
    for i in np.flatnonzero(far > outliers.FAR).tolist():
        given = evidence.class_names[labels[i]]
        words = f"far from the other images of {given} ({far[i]:.1f} deviations)"
        better = evidence.class_names[best[i]] if best[i] != labels[i] else ""
        # From 0.5 to 0.75: below a confident contradiction by other images.
        yield i, float(0.75 - 0.25 * outliers.FAR / far[i]), better, words


def _doubt(evidence: Evidence, reasons: list[_Reason]) -> Doubt:
    ranked = sorted(reasons, key=lambda reason: -reason[1])
    row, score = ranked[0][:2]
    suggested = next((better for _, _, better, _ in ranked if better), "")
    label = evidence.class_names[evidence.labels[row]]
    words = tuple(words for *_, words in ranked)
    return Doubt(row, str(evidence.files[row]), label, suggested, score, words)


def _check(evidence: Evidence, rate: float) -> None:
    n, classes = len(evidence.labels), len(evidence.class_names)
    if np.shape(evidence.probabilities) != (n, classes):
        raise TlkitError(
            f"{n} labels of {classes} classes need probabilities [{n}, {classes}]. Received: "
            f"{list(np.shape(evidence.probabilities))}."
        )
    if not n or len(evidence.features) != n or len(evidence.files) != n:
        raise TlkitError(
            f"Each image needs a label, a row of features and a file. Received: {n} labels, "
            f"{len(evidence.features)} rows and {len(evidence.files)} files."
        )
    if not np.isfinite(evidence.probabilities).all() or np.min(evidence.probabilities) < 0:
        raise TlkitError("Probabilities must be finite and not negative. Received others.")
    if not 0 < rate < 0.5:
        raise TlkitError(f"The rate of false alarms must lie between 0 and 0.5, not {rate}.")
