"""Where each image of a data set lies on a plane: neighbours in feature space stay neighbours."""

import dataclasses

import numpy as np

from tlkit.errors import TlkitError

MOST = 3000  # images; above, a map takes minutes and its points hide each other
_AXES = 50  # principal components that t-SNE starts from (van der Maaten and Hinton 2008, sec. 4)
_PERPLEXITY = 30.0


@dataclasses.dataclass(frozen=True)
class DataMap:
    """A plane on which only closeness means something: axes and gaps between groups do not.

    Attributes:
        rows: int64 [m], the images on the map, ascending.
        points: float32 [m, 2].
        note: What was left out; empty if nothing was.
    """

    rows: np.ndarray
    points: np.ndarray
    note: str


def data_map(features: np.ndarray, keep: np.ndarray | None = None, seed: int = 0) -> DataMap:
    """Returns the t-SNE map of `features` [n, d] after PCA to 50 components.

    The same seed gives the same map on one machine: t-SNE runs on one thread, since sums that
    several threads share differ in their last bits and t-SNE makes much of that.

    Args:
        keep: Rows to show in any case, such as doubtful ones, where more than 3,000 are given.

    Raises:
        TlkitError: Fewer than five images.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(features) < 5:
        raise TlkitError(f"A map needs at least 5 images, not {len(features)}.")
    rows, note = _shown(len(features), keep, seed)
    chosen = np.asarray(features, np.float32)[rows]
    with threadpool_limits(1):
        axes = PCA(min(_AXES, *chosen.shape), random_state=seed).fit_transform(chosen)
        perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(axes)
    return DataMap(rows, points, note)


def _shown(count: int, keep, seed: int) -> tuple[np.ndarray, str]:
    if count <= MOST:
        return np.arange(count), ""
    kept = np.unique(np.asarray([] if keep is None else keep, np.int64))[:MOST]
    others = np.setdiff1d(np.arange(count), kept)
    drawn = np.random.default_rng(seed).choice(others, MOST - len(kept), replace=False)
    note = f"{MOST:,} of {count:,} images, drawn at random"
    return np.sort(np.concatenate([kept, drawn])), note + (
        f" beside {len(kept):,} marked ones" if len(kept) else ""
    )
