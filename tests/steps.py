"""What the tests of training share: six rows in memory, a trainee, and what it was shown."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tests import plain_net
from tests.conftest import tiny_backbone
from tlkit.augmentation import apply, policies
from tlkit.features import decoded
from tlkit.features.frozen import Rows
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.phases.phase import Phase
from tlkit.training import phase_trainer

LABELS = np.array([0, 0, 0, 1, 1, 2])
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]
NAMES = ("red", "blue", "green")
# Stochastic gradient descent shows a gradient as it is; one batch is one step.
BARE = Phase(
    "bare", unfreeze="stage3", epochs=1, rate=0.1, optimizer="sgd", weight_decay=0.0, decay=1.0,
    schedule="constant", warmup=0.0, smoothing=0.0, augment="none", batch_size=6, views=1,
)  # fmt: skip
FIRST = {None: 4, "stage3": 3, "stage2": 2, "stage1": 1, "all": 1}


def new_model(dropout=0.0):
    """Returns a classifier of which no bias, offset or factor is zero or one."""
    model = Classifier(tiny_backbone(), NAMES, head=Head(dropout=dropout, init="scaled"))
    draw = np.random.default_rng(7)
    for variable in model.keras_model.weights:
        if variable.name in ("gamma", "beta", "bias"):
            variable.assign(draw.uniform(0.3, 0.9, variable.shape))
    return model


@dataclasses.dataclass
class Shown:
    """Rows that note which positions and views they were asked for."""

    x: np.ndarray
    labels: np.ndarray = dataclasses.field(default_factory=LABELS.copy)
    targets: Any = None  # soft, by view
    seen: list = dataclasses.field(default_factory=list)

    @property
    def rows(self) -> Rows:
        soft = None if self.targets is None else lambda part, view: self.targets[view][part]
        return Rows(self._batch, self.labels, soft)

    def _batch(self, part, view):
        self.seen.append((np.array(part), view))
        return self.x[part]

    def batches(self, first, updates=None):
        """Returns (x, targets) as the plain net takes them.

        Args:
            updates: Which of the batches make one step together; by default each is one.
        """
        x = plain_net.preprocessed(self.x) if first == 1 else self.x
        found = []
        for update in updates or [[i] for i in range(len(self.seen))]:
            part = np.concatenate([self.seen[i][0] for i in update])
            view = self.seen[update[0]][1]
            hard = np.eye(3, dtype=np.float32)[self.labels]
            found.append((x[part], (hard if self.targets is None else self.targets[view])[part]))
        return found


def shown(trainee, labels=LABELS, targets=None):
    """Returns random rows for the trainee's boundary: pixels, features or pooled ones."""
    draw = np.random.default_rng(1)
    shape = (len(labels), *trainee.model.boundary_shape(trainee.boundary))
    if trainee.boundary == "pixels":
        return Shown(draw.integers(0, 256, shape).astype(np.float32), labels, targets)
    return Shown(np.abs(draw.normal(size=shape)).astype(np.float32), labels, targets)


class Done:
    """Some epochs of one phase, with the values before and after.

    Args:
        times: How many epochs are run; the phase has as many unless it says otherwise.
        past: Validation losses, as a schedule may look back at them.
        phase: Changes to `BARE`.
    """

    def __init__(self, times=1, /, *, model=None, labels=LABELS, targets=None, past=(), **phase):
        self.model = model or new_model()
        self.phase = dataclasses.replace(BARE, **{"epochs": times, **phase})
        self.trainee = phase_trainer.Trainee(self.model, self.phase)
        self.trainee.together = 2
        self.shown = shown(self.trainee, labels, targets)
        self.before = plain_net.values(self.model)
        self.ticks = []
        for epoch in range(times):
            self.ticks += self.trainee.epoch(self.shown.rows, (0, 0), epoch, past)
        self.after = plain_net.values(self.model)

    def check(self, rates=None, updates=None, atol=2e-6, **rules):
        """Demands that values and losses are those of the plain net under `rules`."""
        first = FIRST[self.phase.unfreeze]
        batches = self.shown.batches(first, updates)
        rates = [self.phase.rate] * len(batches) if rates is None else rates
        expected, losses = plain_net.descended(self.before, batches, rates, first=first, **rules)
        for name, value in expected.items():
            np.testing.assert_allclose(
                self.after[name], value, rtol=1e-5, atol=atol, err_msg=name
            )  # fmt: skip
        for name in plain_net.opened(first, rules.get("live", False)):
            assert np.abs(self.after[name] - self.before[name]).max() > 1e-6, name
        if updates is None:
            found = [tick["loss"] for tick in self.ticks]
            np.testing.assert_allclose(found, losses, rtol=1e-4, atol=atol)


def shown_loss(v, store, images, view, strength):
    """Returns the plain net's mean loss on one view of `photos` with seed 3."""
    pixels = decoded.pixel_rows(store, images, PixelRule(32))
    policy = policies.policy("photos", strength)
    x = plain_net.preprocessed(apply.look(pixels, images.hashes, policy, 3, view))
    each = plain_net.cross_entropy(np.eye(3, dtype="f4")[images.labels], plain_net.logits(v, x))
    return float(tf.reduce_mean(each))
