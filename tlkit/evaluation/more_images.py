"""What more images would bring: the error of a linear probe against the number of images.

Error falls as a + b n^-c (Cortes et al. 1994; Figueroa et al. 2012 for extrapolation; Hestness et
al. 2017 for deep features). Subsets of cached features cost no pass over the images. Every number
carries a bootstrap interval over images and repeats, and no gain is promised that the data do not
show.
"""

import dataclasses
from typing import Any

import numpy as np

from tlkit.errors import TlkitError
from tlkit.evaluation.bootstrap import TAIL, resamples
from tlkit.evaluation.folds import grouped_folds

FOLDS = 5
_AXES = 256  # principal components the probe sees: little is lost, and a fit takes milliseconds
_PENALTIES = np.geomspace(1e-4, 1e1, 11)  # relative to the mean eigenvalue
_EXPONENTS = np.geomspace(0.05, 2.0, 60)
_DRAWS = 500


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """Which images probes got wrong that were trained on how many others.

    Attributes:
        sizes: int64 [s], training images, ascending.
        tested: bool [r, n], whether repeat r held image i out.
        wrong: bool [r, s, n], whether it then got it wrong.
    """

    sizes: np.ndarray
    tested: np.ndarray
    wrong: np.ndarray

    def errors(self) -> np.ndarray:
        """Returns float64 [s], the share of images wrong at each size."""
        return _shares(self, *(np.ones((1, size)) for size in self.tested.shape[::-1]))[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A learning curve, what it was measured from and where it leads.

    Attributes:
        count: Images there are now.
        sizes: Training images measured at; `errors` and `low`, `high` belong to them.
        grid: float64 [g], sizes up to four times as many images as there are.
        fitted: float64 [3, g]: error at `grid` and its 95 % interval.
        gains: For twice and four times the images: percentage points won, low, high.
        power: a, b, c of the fit.
        falls: Whether the error falls beyond chance within what was measured.
        has_limit: Whether the data decide what the error tends to: a's interval is shorter than
            half of the last error.
    """

    count: int
    sizes: np.ndarray
    errors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    grid: np.ndarray
    fitted: np.ndarray
    gains: dict[int, tuple[float, float, float]]
    power: tuple[float, float, float]
    falls: bool
    has_limit: bool

    def summary(self) -> str:
        """Returns in one or two sentences what more images would bring."""
        if not self.falls:
            return (
                f"From {self.sizes[0]:,} to {self.sizes[-1]:,} images the error does not fall "
                "beyond chance: more images of this kind are not shown to help."
            )
        _, low, high = self.gains[2]
        said = f"Twice the images would bring {_points(low, high)} (95 % interval)."
        if not self.has_limit:
            said += " The error it tends to in the end cannot be told from these images."
        return said

    def values(self) -> dict[str, Any]:
        """Returns everything as plain values for JSON."""
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in dataclasses.asdict(self).items()
        }


def learning_curve(features, labels, clusters=None, repeats: int = 2, seed: int = 0) -> Curve:
    """Measures and extrapolates: `extrapolate(measure(...))`, see both."""
    measured = measure(features, labels, clusters, repeats, seed)
    return extrapolate(measured, len(labels), seed)


def measure(features, labels, clusters=None, repeats: int = 2, seed: int = 0) -> Measured:
    """Trains linear probes on growing subsets and tests each on images left out of all.

    The probe is one-hot least squares on 256 principal components, its penalty chosen by leave
    one out: within about a point of logistic regression and some hundred times faster, so read
    the slope here and the level from the adviser's probe.

    Args:
        features: [n, d], pooled.
        labels: int [n]; each class needs two images or more.
        clusters: int [n], equal for copies of one picture, which are never divided.
        repeats: Times that all images are divided anew into five folds.

    Raises:
        TlkitError: Fewer than 40 images or 4 sizes to measure at.
    """
    labels = np.asarray(labels, np.int64)
    seeds = range(seed, seed + repeats)
    folds = [grouped_folds(labels, clusters, FOLDS, number) for number in seeds]
    held = np.array([division == fold for division in folds for fold in range(FOLDS)])
    sizes = _sizes(labels, int((~held).sum(1).min()))
    reduced = _principal(np.asarray(features, np.float32), seed)
    draws = np.random.default_rng(seed).integers(2**31, size=len(held))
    wrong = [_round(reduced, labels, *pair, sizes) for pair in zip(held, draws, strict=True)]
    return Measured(sizes, held, np.array(wrong))


def extrapolate(measured: Measured, count: int, seed: int = 0, draws: int = _DRAWS) -> Curve:
    """Fits a + b n^-c to what was measured and follows it to more than `count` images.

    Intervals are 95 %: images and repeats are drawn with replacement, and each draw is fitted.
    On two generated problems of 400 images the gain of twice as many lay inside in 100 and 90 %
    of 40 repetitions.
    """
    mean, drawn = measured.errors(), _bootstrap(measured, draws, seed)
    sizes, weights = measured.sizes.astype(float), 1 / (drawn.var(0) + 1e-6)
    best, many = fit(sizes, mean[None], weights), fit(sizes, drawn, weights)
    grid = np.geomspace(sizes[0], 4 * count, 60)
    (low, high), limits = _interval(drawn), _interval(many[:, 0])
    falls = bool(np.quantile(drawn[:, 0] - drawn[:, -1], TAIL) > 0)
    return Curve(
        count,
        measured.sizes,
        mean,
        low,
        high,
        grid,
        np.stack([_power(best, grid)[0], *_interval(_power(many, grid))]),
        {times: _gain(best, many, count, times) for times in (2, 4)},
        tuple(best[0].tolist()),
        falls,
        bool(falls and limits[1] - limits[0] < mean[-1] / 2),
    )


def _bootstrap(measured: Measured, draws: int, seed: int) -> np.ndarray:
    """Returns [draws, s]: the errors with images and repeats drawn with replacement."""
    rng = np.random.default_rng(seed)
    repeats, n = measured.tested.shape
    share = np.full(repeats, 1 / repeats)
    return np.concatenate(
        [
            _shares(measured, weights, rng.multinomial(repeats, share, len(weights)))
            for weights in resamples(n, draws, seed)
        ]
    )


def fit(sizes: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns float64 [m, 3]: a, b >= 0 and c of the power law nearest to each row of `errors`.

    For each c of a grid from 0.05 to 2 the best a and b have a closed form.

    Args:
        sizes: float [s].
        errors: [m, s].
        weights: [s], of the squared differences.
    """
    best = np.full(len(errors), np.inf)
    found = np.zeros((len(errors), 3))
    for exponent in _EXPONENTS:
        a, b = _line(sizes**-exponent, errors, weights)
        off = ((errors - a[:, None] - b[:, None] * sizes**-exponent) ** 2) @ weights
        better = off < best
        best[better] = off[better]
        found[better] = np.stack([a, b, np.full(len(a), exponent)], 1)[better]
    return found


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a, b >= 0 that minimise the weighted squares of y - a - b x, for each row of y."""
    w = weights / weights.sum()
    mean_x, mean_y = x @ w, y @ w
    b = ((y - mean_y[:, None]) * (x - mean_x)) @ w / ((x - mean_x) ** 2 @ w)
    b = np.maximum(b, 0)
    a = mean_y - b * mean_x
    through_zero = np.maximum((y * x) @ w / (x**2 @ w), 0)
    return np.maximum(a, 0), np.where(a < 0, through_zero, b)


def _power(parameters: np.ndarray, sizes) -> np.ndarray:
    a, b, c = parameters.T[..., None]
    return a + b * np.asarray(sizes, float) ** -c


def _gain(best, many, count: int, times: int) -> tuple[float, float, float]:
    ends = (count, times * count)
    drawn = -100 * np.diff(_power(many, ends))[:, 0]
    low, high = _interval(drawn)
    return float(-100 * np.diff(_power(best, ends))[0, 0]), float(low), float(high)


def _interval(drawn: np.ndarray) -> np.ndarray:
    return np.quantile(drawn, [TAIL, 1 - TAIL], axis=0)


def _points(low: float, high: float) -> str:
    if high < 0.05:
        return "less than 0.1 points"
    digits = 1 if high < 10 else 0
    first, last = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return f"about {first} points" if first == last else f"{first} to {last} points"


def _shares(measured: Measured, weights: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Returns [draws, sizes]: share wrong, with images and repeats counted as often as drawn."""
    repeats, sizes, n = measured.wrong.shape
    wrong = weights @ (measured.wrong & measured.tested[:, None]).reshape(-1, n).T.astype(float)
    seen = (weights @ measured.tested.T.astype(float)) * times
    wrong = (wrong.reshape(-1, repeats, sizes) * times[..., None]).sum(1)
    return wrong / np.maximum(seen.sum(1), 1)[:, None]


def _sizes(labels: np.ndarray, most: int) -> np.ndarray:
    """Returns four to seven sizes up to `most`, each a third larger than the last or more."""
    counts = np.bincount(labels)
    least = max(2 * len(counts), 16, most // 24)
    number = int(min(7, 1 + np.log(most / least) / np.log(4 / 3))) if most > least else 0
    if number < 4 or counts.min() < 2:
        raise TlkitError(
            f"{len(labels)} images of {len(counts)} classes, {counts.min()} in the smallest, are "
            "too few for a learning curve."
        )
    return np.unique(np.geomspace(least, most, number).round().astype(np.int64))


def _principal(features: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    axes = min(_AXES, *features.shape)
    return PCA(axes, random_state=seed).fit_transform(features).astype(np.float64)


def _round(features, labels, held, seed, sizes) -> np.ndarray:
    """Returns bool [s, n]: what probes on growing parts of the other images get wrong."""
    pool = _stratified(labels, np.flatnonzero(~held), seed)
    wrong = np.zeros((len(sizes), len(labels)), bool)
    for place, size in enumerate(sizes):
        rows = pool[:size]
        wrong[place, held] = probe(features[rows], labels[rows], features[held]) != labels[held]
    return wrong


def _stratified(labels: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Returns `rows` in an order whose every beginning holds the classes in their shares."""
    rng = np.random.default_rng(seed)
    key = np.empty(len(rows))
    for label in np.unique(labels[rows]):
        mine = np.flatnonzero(labels[rows] == label)
        rank = rng.permutation(len(mine))
        key[mine] = np.where(rank == 0, -1, (rank + rng.random()) / len(mine))
    return rows[np.argsort(key, kind="stable")]


def probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Returns the labels that ridge regression on one-hot targets gives to `test` [m, d].

    The penalty with the least squared leave-one-out error is taken; that error has a closed form.
    """
    classes, y = np.unique(labels, return_inverse=True)
    centre, shares = train.mean(0), np.bincount(y) / len(y)
    target = np.eye(len(classes))[y] - shares
    values, axes = np.linalg.eigh((train - centre).T @ (train - centre))
    values = np.maximum(values, 0)
    turned = (train - centre) @ axes
    moments = turned.T @ target
    penalties = _PENALTIES * max(values.mean(), 1e-12)
    penalty = min(penalties, key=lambda p: _left_out(turned, target, moments, values + p))
    weights = axes @ (moments / (values + penalty)[:, None])
    return classes[((test - centre) @ weights + shares).argmax(1)]


def _left_out(turned, target, moments, scale) -> float:
    """Mean squared error of each image by the fit without it; 1 - leverage undoes its own pull."""
    fitted = turned @ (moments / scale[:, None])
    leverage = (turned**2) @ (1 / scale) + 1 / len(turned)
    rest = np.maximum(1 - leverage, 1e-6)[:, None]
    return float((((target - fitted) / rest) ** 2).mean())
