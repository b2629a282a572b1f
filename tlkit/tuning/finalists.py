"""The best few trials again, on all the data with other seeds, and what can be told of them.

The least of many noisy losses is too good to be true (the winner's curse): the more trials, the
more luck is in the first. So the best are trained anew, from seeds the search never used, beside
the default settings, and only these runs are compared: on the same validation images, image by
image, with intervals over images and seeds.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.evaluation import calibration
from tlkit.evaluation.bootstrap import TAIL, bounds, interval, mean_draws

BOOTSTRAP = 2000
CURSE = (
    "Losses of the search are too good at the top: the best of many noisy numbers was lucky as "
    "well. The finalists were therefore trained again from other seeds. They were still chosen and "
    "judged on the same validation images, so expect a little less on the test images."
)


@dataclasses.dataclass
class Finalist:
    """One of the settings that were trained again.

    Attributes:
        number: The trial it comes from.
        settings: Its settings.
        folders: A finished run for each seed.
        logits: Calibrated logits of the validation images, [seeds, images, classes].
        labels: Their labels.
    """

    number: int
    settings: dict[str, Any]
    folders: list[Path]
    logits: np.ndarray
    labels: np.ndarray

    @property
    def losses(self) -> np.ndarray:
        """Log loss in nats, [seeds, images]."""
        chances = calibration.softmax(self.logits)
        chosen = np.take_along_axis(chances, self.labels[None, :, None], -1)[..., 0]
        return -np.log(np.maximum(chosen, 1e-12))

    @property
    def hits(self) -> np.ndarray:
        """Whether the most probable label is right, [seeds, images] as 0.0 or 1.0."""
        return (self.logits.argmax(-1) == self.labels).astype(np.float64)

    def describe(self) -> dict[str, Any]:
        """Returns what it reached, as plain values with 95 % intervals."""
        return {
            "trial": self.number,
            "settings": self.settings,
            "seeds": len(self.folders),
            "loss": interval(self.losses, bootstrap=BOOTSTRAP),
            "accuracy": _honest(interval(self.hits, bootstrap=BOOTSTRAP), self.hits.shape[1]),
        }


def gather(number: int, settings: Mapping[str, Any], folders: Sequence[Path], labels) -> Finalist:
    """Returns a finalist from the runs of its seeds."""
    logits = np.stack([np.load(folder / "val_logits.npy") for folder in folders])
    return Finalist(number, dict(settings), list(folders), logits, np.asarray(labels))


def _honest(found: dict[str, float], images: int) -> dict[str, float]:
    """Without one mistake every resample is perfect too: the exact binomial bound is given."""
    return {**found, "low": TAIL ** (1 / images)} if found["value"] == 1.0 else found


def compare(first: Finalist, second: Finalist, seed: int = 0) -> dict[str, Any]:
    """Returns first minus second in loss and in accuracy, with intervals, and a plain verdict.

    Images are drawn together for both, seeds apart: the same image is as hard for both, but seed 1
    of one has nothing to do with seed 1 of the other.
    """
    found: dict[str, Any] = {"first": first.number, "second": second.number}
    for name in ("losses", "hits"):
        a, b = getattr(first, name), getattr(second, name)
        draw = np.random.default_rng(seed)
        drawn = mean_draws(a, draw, seed, BOOTSTRAP) - mean_draws(b, draw, seed, BOOTSTRAP)
        found[name] = bounds(float(a.mean() - b.mean()), drawn)
    found["seeds"] = min(len(first.folders), len(second.folders))
    return found | {"verdict": _verdict(found)}


def _verdict(found: Mapping[str, Any]) -> str:
    loss, hits = found["losses"], found["hits"]
    names = [f"trial {found[key]}" if found[key] else "the default" for key in ("first", "second")]
    numbers = (
        f"log loss {loss['value']:+.3f} ({loss['low']:+.3f} to {loss['high']:+.3f}), accuracy "
        f"{100 * hits['value']:+.1f} ({100 * hits['low']:+.1f} to {100 * hits['high']:+.1f}) points"
    )
    seeds = found["seeds"]
    seed_text = "one seed each, so chance between seeds is not in it" if seeds == 1 else (
        f"{seeds} seeds each: few, read the interval as a little too narrow"
    )  # fmt: skip
    if loss["low"] <= 0 <= loss["high"]:
        return f"cannot tell {names[0]} from {names[1]}: {numbers} ({seed_text})"
    better = names[0] if loss["value"] < 0 else names[1]
    return f"{better} is better: {names[0]} against {names[1]} {numbers} ({seed_text})"
