"""Confident learning: which labels other images contradict (Northcutt, Jiang and Chuang 2021).

All functions take `probabilities` float64 [n, classes] by models that never saw the image, and
`labels` int64 [n].
"""

import dataclasses

import numpy as np

from tlkit.evaluation.calibration import softmax

RATE = 0.01  # share of images with an alarm if every label were right
_TEMPERATURES = np.geomspace(0.2, 10.0, 50)
_NOISE = np.linspace(0.0, 0.4, 81)
_LEAST = 1e-12
_DROP = 1.92  # of the log likelihood: the end of a 95 % interval
_CAUTION = 0.5  # fitted probabilities have thinner tails than real ones; found on generated data


@dataclasses.dataclass(frozen=True, eq=False)
class Clean:
    """Probabilities as they would be if labels were right.

    Attributes:
        probabilities: float64 [n, classes] whose rows sum to 1.
        temperature: What they were softened by.
        noise: The share of labels that seem to be drawn at random, right by chance or wrong.
        least_noise: The least share that explains the labels nearly as well; 0 for clean data.
    """

    probabilities: np.ndarray
    temperature: float
    noise: float
    least_noise: float

    @property
    def wrong(self) -> float:
        """The estimated share of wrong labels."""
        classes = self.probabilities.shape[1]
        return self.noise * (classes - 1) / classes


def clean(probabilities: np.ndarray, labels: np.ndarray) -> Clean:
    """Fits temperature and noise to `labels` at once, and applies the temperature only.

    A temperature fitted to noisy labels alone would explain wrong ones as doubt, and none would
    stand out. Both have the greatest likelihood of the labels, each of which is drawn from its
    softened row, or with the share `noise` from all classes alike.
    """
    logits = np.log(np.maximum(probabilities, _LEAST))
    rows, classes = np.arange(len(labels)), logits.shape[1]
    fits = []
    for temperature in _TEMPERATURES:
        right = softmax(logits, temperature)[rows, labels]
        mixed = (1 - _NOISE[:, None]) * right + _NOISE[:, None] / classes
        fits.append(np.log(mixed + _LEAST).sum(1))
    best, noise = np.unravel_index(np.argmax(fits), np.shape(fits))
    profile = np.max(fits, axis=0)
    least = _NOISE[np.argmax(profile >= profile.max() - _DROP)]
    temperature = float(_TEMPERATURES[best])
    return Clean(softmax(logits, temperature), temperature, float(_NOISE[noise]), float(least))


def thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns float64 [classes]: mean probability of a class on images so labelled (eq. 2).

    A class without images can be no one's true label: its threshold is infinite.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, probabilities[np.arange(len(labels)), labels], classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def confident_labels(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns int64 [n]: the likeliest class above its own threshold, -1 where there is none."""
    above = probabilities >= thresholds(probabilities, labels)
    chosen = np.where(above, probabilities, -1.0).argmax(1)
    return np.where(above.any(1), chosen, -1)


def joint_estimate(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns float64 [classes, classes] that sums to 1: shares by given and true label (eq. 3).

    Rows are scaled to the counts of the given labels, since confident images are not all images.
    """
    classes = probabilities.shape[1]
    chosen = confident_labels(probabilities, labels)
    sure = chosen >= 0
    pairs = labels[sure] * classes + chosen[sure]
    joint = np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(float)
    counts = np.bincount(labels, minlength=classes)
    empty = joint.sum(1) == 0
    joint[empty, empty] = 1.0  # no one is confident about these: as labelled
    joint *= (counts / joint.sum(1))[:, None]
    return joint / joint.sum()


def margins_of(probabilities: np.ndarray) -> np.ndarray:
    """Returns [n, classes]: what the margin of each image were if it had that label.

    The margin is the probability of the label minus the largest other (normalised margin).
    """
    order = np.partition(probabilities, -2, axis=1)
    first, second = order[:, -1:], order[:, -2:-1]
    return probabilities - np.where(probabilities == first, second, first)


def label_errors(
    found: Clean, labels: np.ndarray, rate: float = RATE
) -> tuple[np.ndarray, np.ndarray]:
    """Returns bool [n], which labels are likely wrong, and the normalised margins [n].

    A label is likely wrong if confident learning puts the image into another class, and either

    - its margin is below what clean data would reach for at most `rate` of all images: were each
      label drawn from its row, label k of image i would come with probability p[i, k]; or
    - it is wrong rather than right under the least noise that the labels give evidence of. Clean
      labels give none, so this lengthens the list only where there is something to find.
    """
    probabilities = found.probabilities
    all_margins = margins_of(probabilities)
    order = np.argsort(all_margins, axis=None)
    alarms = np.cumsum(probabilities.ravel()[order]) / len(labels)
    place = int(np.searchsorted(alarms, _CAUTION * rate, side="right"))
    limit = all_margins.ravel()[order[min(place, len(order) - 1)]]
    margins = all_margins[np.arange(len(labels)), labels]
    chosen = confident_labels(probabilities, labels)
    likely = (margins < min(limit, 0.0)) | (chance_wrong(found, labels) > 0.5)
    return likely & (margins < 0) & (chosen >= 0) & (chosen != labels), margins


def chance_wrong(found: Clean, labels: np.ndarray) -> np.ndarray:
    """Returns float64 [n]: the chance that a label is wrong, with the least noise as the prior."""
    right = found.probabilities[np.arange(len(labels)), labels]
    drawn = found.least_noise / found.probabilities.shape[1]
    return drawn * (1 - right) / ((1 - found.least_noise) * right + drawn + _LEAST)


def best_other(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns int64 [n]: the likeliest class other than the label."""
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1
    return others.argmax(1)


def contradictions(labels, clusters, probabilities) -> list[tuple[int, int, int]]:
    """Returns (row, other row, label) for each copy that disagrees with its other copies.

    `label` is that of most copies; on a tie the one the probabilities of all copies favour, and
    `other` is the first copy that has it.
    """
    if clusters is None:
        return []
    found = []
    numbers, counts = np.unique(clusters, return_counts=True)
    for number in numbers[counts > 1]:
        rows = np.flatnonzero(clusters == number)
        given = labels[rows]
        if len(set(given.tolist())) > 1:
            votes = np.bincount(given, minlength=probabilities.shape[1]).astype(float)
            best = int((votes + probabilities[rows].mean(0) * 0.5 * (votes > 0)).argmax())
            other = int(rows[given == best][0])
            found += [(int(row), other, best) for row in rows[given != best]]
    return found
