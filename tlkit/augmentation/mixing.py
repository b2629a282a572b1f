"""Mixing two images and their labels: partners drawn, like all else, from (seed, view, content).

Keras's `MixUp` and `CutMix` pair the images of one batch, so that a view depends on how batches
fell. Here the partner is one of all training images, found in the order of their hashes: a mixed
row is a function of the set of training images, and can be kept and found again.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv

from tlkit.augmentation.apply import Policy
from tlkit.augmentation.draws import draws
from tlkit.files import combined_hash


@dataclasses.dataclass(frozen=True)
class Pool:
    """The images that partners are drawn from.

    Attributes:
        places: Where they are in the list of images, in the order of their hashes.
        digest: Stands for the set of them in the keys of cached rows.
    """

    places: np.ndarray
    digest: str


@dataclasses.dataclass(frozen=True)
class Pairs:
    """What some images are mixed with.

    Attributes:
        partners: Positions in the list of images, int64 [n].
        share: The image's own share of pixels and label, float32 [n], at least one half for mixup.
        boxes: top, left, height, width of the partner's part, int [n, 4]; None to blend.
    """

    partners: np.ndarray
    share: np.ndarray
    boxes: np.ndarray | None = None


def pool(hashes: Sequence[str]) -> Pool:
    """Returns the pool of images with these content hashes, each content once."""
    first = {name: i for i, name in reversed(list(enumerate(hashes)))}
    names = sorted(first)
    return Pool(np.array([first[name] for name in names]), combined_hash(names))


def pairs(hashes, shape, chosen: Policy, candidates: Pool, seed: int, view: int) -> Pairs:
    """Draws a partner and a share for each of the images with these hashes.

    Beta(alpha, alpha) is symmetric and pairs are ordered at random, so that the larger share may
    go to the image itself: the same mixtures as in the papers, and alpha 0 leaves images alone.

    Args:
        shape: (height, width) of the pixels.
    """
    u = draws(hashes, seed, view, 4, chosen.mix)
    partners = candidates.places[(u[:, 0] * len(candidates.places)).astype(np.int64)]
    share = betaincinv(chosen.alpha, chosen.alpha, u[:, 1].astype(np.float64))
    share = np.maximum(share, 1 - share)
    if chosen.mix == "mixup":  # Zhang et al. 2018, equation 2
        return Pairs(partners, share.astype(np.float32))
    # Yun et al. 2019, appendix A; there a box may reach over the border, here it lies inside.
    sides = np.rint(np.sqrt(1 - share)[:, None] * shape).astype(np.int64)
    corner = np.floor(u[:, 2:] * (np.array(shape) - sides + 1)).astype(np.int64)
    own = 1 - sides.prod(1) / np.prod(shape)  # the exact share of pixels, after rounding
    return Pairs(partners, own.astype(np.float32), np.concatenate([corner, sides], 1))


def mixed(images: np.ndarray, others: np.ndarray, found: Pairs) -> np.ndarray:
    """Returns float32 images [n, height, width, channels] mixed with their partners' pixels."""
    if found.boxes is None:
        share = found.share[:, None, None, None]
        return images * share + others * (1 - share)
    top, left, tall, wide = found.boxes.T[:, :, None]
    rows, columns = np.arange(images.shape[1]), np.arange(images.shape[2])
    inside = ((rows >= top) & (rows < top + tall))[:, :, None]
    inside = inside & ((columns >= left) & (columns < left + wide))[:, None, :]
    return np.where(inside[..., None], others, images)


def targets(labels: np.ndarray, others: np.ndarray, share: np.ndarray, classes: int) -> np.ndarray:
    """Returns soft labels, float32 [n, classes]: both images' labels by their shares."""
    one = np.eye(classes, dtype=np.float32)
    return one[labels] * share[:, None] + one[others] * (1 - share[:, None])
