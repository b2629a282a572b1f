"""Views of images: which policy, seed and number, and what draws their pixels and labels."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tlkit.augmentation import apply, mixing, policies


@dataclasses.dataclass(frozen=True)
class View:
    """One look at every image: the image itself, or draw `number` of an augmentation policy."""

    policy: policies.Policy = policies.POLICIES["none"]
    seed: int = 0
    number: int = 0

    def key(self) -> tuple:
        """Returns what distinguishes this view's pixels; all plain views are one."""
        values = self.policy.key()
        if values == policies.Policy().key():
            return ("plain",)
        return (*values, self.seed, self.number)


def row_key(view: View, hashes: Sequence[str]) -> tuple:
    """Returns what the view's rows of these images depend on, besides each row's own content.

    A mixed row depends on all that its partner is drawn from.
    """
    key = view.key()
    return (*key, mixing.pool(hashes).digest) if view.policy.mix else key


def look(rows: np.ndarray, hashes, view: View) -> np.ndarray:
    """Returns the pixels of a view before any mixing, float32; `rows` are uint8 [n, ...]."""
    if view.key() == ("plain",):
        return np.asarray(rows, np.float32)
    return apply.look(rows, hashes, view.policy, view.seed, view.number)


def reader(source: np.ndarray, hashes: Sequence[str], view: View) -> Callable:
    """Returns what gives a view's pixels for positions in `source`, float32 [n, ...].

    Args:
        source: uint8 pixels of all images, which partners for mixing come from, too.
        hashes: Their content hashes.
    """
    names = np.array(hashes)

    def read(positions):
        return look(source[positions], names[positions], view)

    if not view.policy.mix:
        return read
    pairs = _pairs(names, source.shape[1:3], view)

    def mixed(positions):
        found = pairs(positions)
        return mixing.mixed(read(positions), read(found.partners), found)

    return mixed


def soft_labels(
    labels: np.ndarray, classes: int, hashes: Sequence[str], size: int, views: Sequence[View]
) -> Callable[[np.ndarray, int], np.ndarray] | None:
    """Returns what gives the label shares float32 [n, classes] of (positions, view's number).

    None where no view mixes. `size` is the side of the images' pixels.
    """
    if not any(view.policy.mix for view in views):
        return None
    names = np.array(hashes)
    pairs = [_pairs(names, (size, size), view) if view.policy.mix else None for view in views]

    def targets(positions, number):
        draw = pairs[number % len(pairs)]
        if draw is None:
            return np.eye(classes, dtype=np.float32)[labels[positions]]
        found = draw(positions)
        return mixing.targets(labels[positions], labels[found.partners], found.share, classes)

    return targets


def _pairs(names, shape, view) -> Callable[[np.ndarray], mixing.Pairs]:
    pool = mixing.pool(names)
    return lambda positions: mixing.pairs(
        names[positions], shape, view.policy, pool, view.seed, view.number
    )
