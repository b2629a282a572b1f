"""How sure a number is: images drawn with replacement (Efron 1979)."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tlkit.errors import TlkitError

TAIL = 0.025  # each side of a 95 % interval
BLOCK = 4_000_000  # numbers held at once: 32 MB


def paired_difference(
    correct_a: Any, correct_b: Any, *, bootstrap: int = 10_000, seed: int = 0
) -> dict[str, Any]:
    """Compares two models on the same images: accuracy of the first minus that of the second.

    Returns `difference`, `low`, `high` (95 % bootstrap over images), `only_first`, `only_second`
    (images only that one gets right), `p_value` (exact McNemar test) and a plain `verdict` in
    percentage points. A winner is named only if interval and test agree: with a handful of
    disagreements the interval alone is too sure.

    Args:
        correct_a: [images] bool, whether the first model is right; `correct_b` likewise.
    """
    from scipy.stats import binomtest

    first, second = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise TlkitError(
            "Two models are compared on the same images, one value each. "
            f"Received shapes {first.shape} and {second.shape}."
        )
    n, wins, losses = len(first), int((first & ~second).sum()), int((second & ~first).sum())
    # An image adds -1, 0 or +1, so drawing images is drawing three counts.
    shares = np.array([wins, losses, n - wins - losses]) / n
    draws = np.random.default_rng(seed).multinomial(n, shares, size=bootstrap)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / n, [TAIL, 1 - TAIL])
    p_value = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    result = {"difference": (wins - losses) / n, "low": float(low), "high": float(high)}
    result |= {"only_first": wins, "only_second": losses, "n": n, "p_value": float(p_value)}
    return result | {"verdict": _verdict(result)}


def resamples(n: int, bootstrap: int, seed: int, block: int = BLOCK) -> Iterator[np.ndarray]:
    """Yields how often each image is drawn, [some, n], in blocks of at most `block` numbers.

    The size of a block changes no draw.
    """
    rng = np.random.default_rng(seed)
    size = max(1, block // n)
    for start in range(0, bootstrap, size):
        rows = min(size, bootstrap - start)
        drawn = rng.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def interval(values: Any, seed: int = 0, bootstrap: int = 2000) -> dict[str, float]:
    """Returns `value`, `low` and `high`: a mean with its 95 % interval over seeds and images.

    Args:
        values: [seeds, images]; of a difference if given one.
    """
    values = np.asarray(values, float)
    drawn = mean_draws(values, np.random.default_rng(seed), seed, bootstrap)
    return bounds(float(values.mean()), drawn)


def mean_draws(
    values: np.ndarray, draw: np.random.Generator, seed: int, bootstrap: int
) -> np.ndarray:
    """Returns the mean of resampled images and seeds, [bootstrap]; images depend on `seed` only."""
    seeds, images = values.shape
    by_seed = np.concatenate([c @ values.T for c in resamples(images, bootstrap, seed)]) / images
    weights = draw.multinomial(seeds, np.full(seeds, 1 / seeds), size=bootstrap) / seeds
    return (by_seed * weights).sum(1)


def bounds(value: float, drawn: np.ndarray) -> dict[str, float]:
    """Returns `value` between the 95 % bounds of what was drawn."""
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return {"value": value, "low": float(low), "high": float(high)}


def _verdict(result: Mapping[str, Any]) -> str:
    points = [100 * result[key] for key in ("difference", "low", "high")]
    numbers = "{:+.1f} ({:+.1f} to {:+.1f})".format(*(point + 0.0 for point in points))
    disagreements = result["only_first"] + result["only_second"]
    if not disagreements:
        return f"{numbers}: right and wrong on the same images"
    if result["low"] <= 0 <= result["high"]:
        return f"{numbers}: cannot tell them apart"
    if result["p_value"] >= 2 * TAIL:
        return f"{numbers}: cannot tell them apart, they differ on only {disagreements} images"
    return f"{numbers}: the {'first' if result['difference'] > 0 else 'second'} is better"
