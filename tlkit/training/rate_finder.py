"""The learning-rate range test: one short climb through all rates, on a copy of the classifier.

Smith, "Cyclical learning rates", WACV 2017, section 3.3. The loss falls while the rate is useful
and rises when it is too large. The classifier itself is never touched, and what the test draws at
random is put back; both are checked before it returns.
"""

import dataclasses
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tlkit import progress
from tlkit.augmentation import policies
from tlkit.errors import TlkitError
from tlkit.features import frozen as features
from tlkit.features.store import Store
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier
from tlkit.phases import sampling
from tlkit.phases.phase import Phase
from tlkit.training.phase_trainer import Trainee
from tlkit.training.train import default_phases
from tlkit.training.untouched import untouched

SMOOTHING = 0.9  # share of the past in the smoothed loss
TOO_MUCH = 4.0  # the climb ends where the smoothed loss is this many times its least value
WORTH = 0.05  # share by which the loss must fall for the curve to say anything


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """The climb: one loss for each rate.

    Attributes:
        rates: Learning rates, growing by the same factor.
        losses: Training loss of each step, in nats.
        phase: What was trained.
    """

    rates: np.ndarray
    losses: np.ndarray
    phase: Phase

    @property
    def smooth(self) -> np.ndarray:
        """The losses as a moving average without the bias of its start."""
        total, values = 0.0, []
        for number, loss in enumerate(self.losses, 1):
            total = SMOOTHING * total + (1 - SMOOTHING) * loss
            values.append(total / (1 - SMOOTHING**number))
        return np.array(values)

    @property
    def suggestion(self) -> float | None:
        """The rate of the steepest fall before the least loss; None if the loss hardly falls."""
        smooth = self.smooth
        least = int(np.argmin(smooth))
        if least < 3 or smooth[least] > (1 - WORTH) * smooth[0]:
            return None
        slopes = np.gradient(smooth[: least + 1], np.log(self.rates[: least + 1]))
        return float(self.rates[int(np.argmin(slopes))])

    @property
    def limit(self) -> float:
        """A tenth of the rate where the loss was least: more than this is daring."""
        return float(self.rates[int(np.argmin(self.smooth))]) / 10

    def __str__(self) -> str:
        where = f"phase {self.phase.name!r}, {len(self.rates)} steps up to {self.rates[-1]:.2g}"
        if self.suggestion is None:
            return f"Range test of {where}: the loss hardly falls, so it suggests no rate."
        return (
            f"Range test of {where}: the loss falls fastest at {self.suggestion:.2g}.\n"
            f"A tenth of the rate of the least loss is {self.limit:.2g}; stay near these two."
        )

    def plot(self, path: str | Path) -> Path:
        """Writes the curve as a picture; the ending of `path` says which format."""
        from tlkit.pages.charts import range_test

        figure = range_test(self.rates, self.losses, self.smooth, self.suggestion)
        figure.savefig(path, dpi=120, facecolor="white")
        return Path(path)


def lr_find(
    model: Classifier,
    data: Data,
    phase: Phase | None = None,
    *,
    rates: tuple[float, float] = (1e-7, 1.0),
    steps: int = 100,
    seed: int = 0,
    store: Store | None = None,
) -> RangeTest:
    """Trains a copy of `model` for some steps at growing rates; `model` stays bit-equal.

    Args:
        phase: What to train and how; the last default phase if None. Its rate and schedule are
            not used, nor are class weights.
        rates: First and last one, before the factors of lower stages.
        steps: Steps from the one to the other; fewer if the loss explodes before.

    Raises:
        TlkitError: The rates or steps make no climb.
        AuditError: The model or a random state has changed nevertheless.
    """
    lowest, highest = rates
    if not 0 < lowest < highest or steps < 10:
        raise TlkitError(f"No climb: {steps} steps from {lowest} to {highest}. Take 10 or more.")
    phase = phase or default_phases(model)[-1]
    with untouched(model, "The range test", seed), tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        copy = Classifier.load(folder)
        trainee = Trainee(copy, phase)
        rows = _rows(copy, data, phase, trainee.boundary, seed, store)
        climb = np.geomspace(lowest, highest, steps)
        losses = list(_climb(trainee, rows, climb, seed))
    return RangeTest(climb[: len(losses)], np.array(losses), phase)


def _rows(model, data, phase, boundary, seed, store) -> features.Rows:
    """Returns one view of the training images at the phase's boundary."""
    view = features.View(policies.policy(phase.augment, phase.strength), seed)
    frozen = features.Frozen(model, store or Store.default())
    return frozen.training_rows(data.train, boundary, [view])


def _climb(trainee: Trainee, rows: features.Rows, rates, seed) -> Iterator[float]:
    """Yields the loss of each step until all rates are tried or the loss has exploded."""
    batches = _batches(rows, trainee.phase, seed)
    smooth, least = 0.0, math.inf
    for number, rate in enumerate(progress.track(rates, "Range test", unit=1), 1):
        part = next(batches)
        truth = rows.labels[part] if rows.targets is None else rows.targets(part, 0)
        loss = trainee.step(rows.batch(part, 0), truth, float(rate))
        if not math.isfinite(loss):
            return
        yield loss
        smooth = SMOOTHING * smooth + (1 - SMOOTHING) * loss
        value = smooth / (1 - SMOOTHING**number)
        least = min(least, value)
        if value > TOO_MUCH * least:
            return


def _batches(rows, phase, seed) -> Iterator[np.ndarray]:
    epoch = 0
    while True:
        order = sampling.order(rows.labels, phase.sampling, (seed, epoch))
        size = min(phase.batch_size, len(order))
        for start in range(0, len(order) - size + 1, size):  # full batches: losses compare
            yield order[start : start + size]
        epoch += 1
