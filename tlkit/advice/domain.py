"""How far images lie from those a backbone was trained on, measured where the lectures guess.

Three signs: an earlier stage serves a linear classifier or nearest neighbours better than the last
one (what the last stages learnt is not what these images need), and the inputs of BatchNorm layers
lie away from the statistics kept in training.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tlkit.evaluation import bootstrap
from tlkit.evaluation.probes import Probe

if TYPE_CHECKING:
    from tlkit.features.stages import Norms

# Mean shift from which images count as different, and up to which as similar. Read off one network,
# MobileNetV2 0.35 at 128 pixels on training images: photos of insects .24 and flowers .27; CIFAR-10
# enlarged .46, steel surfaces .50; handwritten letters .81.
FAR, NEAR = 0.7, 0.35
_FAR_CHANNEL = 25.0  # a channel counts at most as five standard deviations: a few must not decide


@dataclasses.dataclass(frozen=True)
class Domain:
    """How far the images are from the backbone's own, with the numbers it was told by.

    Attributes:
        word: "similar", "different" or "unclear".
        best_stage: The stage with the best linear probe.
        sure: Whether that is an earlier stage which images tell from the last.
        gain: Accuracy of that stage minus that of the last: `low` and `high` are paired, 95 %.
        knn_gain: The best earlier stage's nearest neighbours minus those of the last stage.
        shift: Stage to distance of its BatchNorm's input from training, in its own deviations.
        reasons: One line for each sign.
    """

    word: str
    best_stage: str
    sure: bool
    gain: float
    low: float
    high: float
    knn_gain: float
    shift: Mapping[str, float]
    reasons: tuple[str, ...]

    @property
    def distance(self) -> float:
        """Mean shift over the stages, 0 for the training images; NaN without BatchNorm."""
        return float(np.mean(list(self.shift.values()))) if self.shift else float("nan")


def measure(probes: Mapping[str, Probe], norms: "Mapping[str, Norms]") -> Domain:
    """Returns the domain distance that stages' probes and BatchNorm inputs tell.

    Args:
        probes: Stage to what its features are worth, in depth order, on the same images.
        norms: Stage to its BatchNorm's input.
    """
    names = list(probes)
    last = probes[names[-1]]
    best = max(names, key=lambda name: probes[name].linear.value)
    paired = bootstrap.paired_difference(probes[best].correct, last.correct, bootstrap=2000)
    knn = max(probes[name].knn.value for name in names) - last.knn.value
    shifts = {name: shift(norm) for name, norm in norms.items()}
    # Of several stages the best is compared: the largest of some differences, so one in twenty
    # would be too often. Bonferroni's correction is for all of them.
    sure = best != names[-1] and paired["low"] > 0 and paired["p_value"] < 0.05 / len(names)
    ends = paired["difference"], paired["low"], paired["high"]
    found = Domain("", best, sure, *ends, knn, shifts, ())
    word, lines = _word(sure, found.distance), tuple(_reasons(found, names[-1]))
    return dataclasses.replace(found, word=word, reasons=lines)


def _word(sure: bool, distance: float) -> str:
    if sure or distance >= FAR:
        return "different"
    return "unclear" if distance >= NEAR else "similar"


def shift(norm: "Norms") -> float:
    """Returns how far a BatchNorm's input is from its training statistics, in deviations.

    It is the Frechet distance between two normal distributions for each channel, divided by the
    training variance: ((m - m0)^2 + (s - s0)^2) / s0^2, then the root of its mean over channels.
    """
    mean = norm.mean.mean(0, dtype=np.float64)
    spread = np.sqrt(np.maximum(norm.square.mean(0, dtype=np.float64) - mean**2, 0))
    own = np.sqrt(np.maximum(norm.moving_variance, 1e-12))
    apart = ((mean - norm.moving_mean) ** 2 + (spread - own) ** 2) / own**2
    return float(np.sqrt(np.minimum(apart, _FAR_CHANNEL).mean()))


def _reasons(found: Domain, last: str):
    points = f"{100 * found.gain:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    if found.best_stage == last:
        yield f"a linear probe is best at the last stage ({last})"
    elif found.sure:
        yield f"a linear probe is better at {found.best_stage} than at the last stage: {points}"
    else:
        yield f"a linear probe at {found.best_stage} cannot be told from the last stage: {points}"
    if found.knn_gain > 0:
        yield f"nearest neighbours gain {100 * found.knn_gain:.1f} points at an earlier stage"
    else:
        yield "nearest neighbours are best at the last stage"
    if found.shift:
        yield f"BatchNorm inputs lie {found.distance:.2f} deviations from training on average"
    else:
        yield "the network has no BatchNorm whose training statistics could be compared"
