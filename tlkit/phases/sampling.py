"""In which order images are shown, and how much each class counts."""

import numpy as np

from tlkit.errors import TlkitError


def order(labels: np.ndarray, sampling: str, seed: tuple[int, ...]) -> np.ndarray:
    """Returns the positions of one epoch, as many as there are images.

    Args:
        sampling: `natural` shows every image once. `balanced` shows every class equally often (but
            for a remainder): images of small classes come again, some of large ones stay away.
        seed: All that the order depends on.
    """
    random = np.random.default_rng(seed)
    if sampling == "natural":
        return random.permutation(len(labels))
    classes = np.unique(labels)
    share = -(-len(labels) // len(classes))
    drawn = [_drawn(np.flatnonzero(labels == name), share, random) for name in classes]
    rounds = [random.permutation(row) for row in np.stack(drawn, 1)]  # one of each class a round
    return random.permutation(np.concatenate(rounds)[: len(labels)])


def _drawn(positions, count, random) -> np.ndarray:
    """Returns `count` of the positions: all of them before any comes again."""
    rounds = [random.permutation(positions) for _ in range(-(-count // len(positions)))]
    return np.concatenate(rounds)[:count]


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns n / (classes x count) for each class, float32: their mean over the images is 1.

    Raises:
        TlkitError: A class has no image.
    """
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise TlkitError(f"Class {int(np.argmin(counts))} has no training image to weigh.")
    return (len(labels) / (classes * counts)).astype(np.float32)
