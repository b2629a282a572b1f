"""What a plan will cost on this machine, from a few timed steps, before the plan is run.

Decoding, the frozen part and a training step of each phase are timed on a handful of images; the
rest is counting. The estimate is for all epochs: early stopping may end a phase sooner.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlkit import progress
from tlkit.augmentation import apply
from tlkit.features import decoded, frozen
from tlkit.features.decoded import BATCH
from tlkit.features.frozen import Rows
from tlkit.features.store import Store
from tlkit.images import pixels
from tlkit.images.dataset import Data
from tlkit.memory import held_mb
from tlkit.models.classifier import Classifier
from tlkit.models.network import PIXELS, POOLED
from tlkit.phases.phase import Phase, view_count
from tlkit.text import duration
from tlkit.training import phase_trainer, session
from tlkit.training.untouched import untouched

SAMPLE = 32  # files decoded to time decoding
PASSES = 3  # timed repeats; the least counts
WORTH = 20_000  # images passed through the network from which timing a few steps pays
DISK_RATE = 400e6  # bytes a second a checkpoint is written at
EPOCH = 0.01  # seconds an epoch takes by itself: a checkpoint, a line, two threads
LAYER_SAVE = 0.004  # seconds for each layer of a saved model, and for its graph to be traced
OVERHEAD = 150e6  # bytes that are still to come besides what is counted here


@dataclasses.dataclass(frozen=True)
class PhaseCost:
    """What one phase takes, in seconds and bytes.

    Attributes:
        views: Seconds for the frozen part of training images not in the cache, all views.
        others: Seconds for decoding and for the validation images.
        start: Seconds for compiling.
        epoch: Seconds for one epoch with its validation and checkpoint.
        epochs: At most.
        cache: Bytes of the rows it trains on; 0 if they are computed live.
    """

    name: str
    views: float
    others: float
    start: float
    epoch: float
    epochs: int
    cache: int

    @property
    def rows(self) -> float:
        """Seconds before the first epoch but for compiling."""
        return self.views + self.others

    @property
    def seconds(self) -> float:
        """All of the phase, if no epoch is left out."""
        return self.rows + self.start + self.epoch * self.epochs


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The cost of a plan. `print` shows it as a table.

    Attributes:
        phases: One entry for each phase.
        memory: Most bytes of the process at any time.
        saving: Seconds for writing the model before and after training.
        held: Bytes of `memory` that are rows; the store can map them from disk instead.
        views: Most views one phase holds at a time: the store's limit is for each by itself.
    """

    phases: tuple[PhaseCost, ...]
    memory: float
    saving: float
    held: int = 0
    views: int = 1

    @property
    def seconds(self) -> float:
        """All of it, if no epoch is left out."""
        return sum(phase.seconds for phase in self.phases) + self.saving

    @property
    def cache(self) -> int:
        """Bytes of all cached feature rows."""
        return sum(phase.cache for phase in self.phases)

    def __str__(self) -> str:
        lines = [
            f"Estimate: at most {duration(self.seconds)}, {self.memory / 1e9:.1f} GB of memory, "
            f"{self.cache / 1e6:,.0f} MB of cached features"
        ]
        lines += [
            f"  {phase.name:<12} features {phase.rows:5.1f} s, start {phase.start:4.1f} s, "
            f"{phase.epochs} epochs of {phase.epoch:.2f} s at most"
            for phase in self.phases
        ]
        return "\n".join(lines)


def worth(data: Data, plan: Sequence[Phase]) -> bool:
    """Says whether the job is long enough for timing some steps of it."""
    passes = sum(
        len(data.train) * (view_count(phase) + (3 * phase.epochs if phase.unfreeze else 0))
        for phase in plan
    )
    return passes >= WORTH


def estimate(
    model: Classifier,
    data: Data,
    plan: Sequence[Phase],
    *,
    store: Store | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """Returns the cost of `plan` by timing a few steps; weights and flags end as they were.

    It takes some seconds itself, and the model ends compiled for another optimizer. Rows already
    in the store cost nothing.

    Args:
        model: As it will be trained.
        plan: The phases, all of them.
        seed: Of the run, which its views depend on.
        clock: Seconds by which the steps are timed.

    Raises:
        AuditError: The model could not be put back.
    """
    compiled = ("compilation", "optimizer")  # each phase compiles anew
    with progress.hushed(), untouched(model, "The estimate", but=compiled):
        return _Timer(model, data, tuple(plan), (store or Store.default(), seed, clock)).estimate()


class _Timer:
    """Times the parts of a plan; each is measured once."""

    def __init__(self, model: Classifier, data: Data, plan: tuple[Phase, ...], where):
        self.model, self.data, self.plan = model, data, plan
        self.store, self.seed, self.clock = where
        self.frozen = frozen.Frozen(model, self.store)
        self.rng = np.random.default_rng(0)
        self.decoded = False

    def estimate(self) -> Estimate:
        done: set[tuple] = set()
        phases = tuple(self._phase(number, done) for number in range(len(self.plan)))
        layers = len(self.model.backbone.net.layers)
        held = self._held(phases)
        memory = 1e6 * held_mb() + OVERHEAD + held + 4 * _bytes(self.model.variables)
        views = max((view_count(phase) for phase in self.plan), default=1)
        return Estimate(phases, memory, 2 * LAYER_SAVE * layers, held, views)

    def _held(self, phases: Sequence[PhaseCost]) -> int:
        """Returns the bytes of rows in memory: a view beyond the store's limit is mapped."""
        pixel_bytes = self.frozen.row_bytes(PIXELS) * (len(self.data.train) + len(self.data.val))
        caches = [phase.cache for phase in phases]
        if self.store.folder is None:  # every kind stays, and is copied in the order asked for
            return 2 * (sum(caches) + pixel_bytes)
        limit = self.store.memory
        counts = [view_count(phase) for phase in self.plan]
        kept = [c for c, n in zip(caches, counts, strict=True) if c <= n * limit]
        return max(kept, default=0) + (pixel_bytes if pixel_bytes <= limit else 0)

    def _phase(self, number: int, done: set[tuple]) -> PhaseCost:
        phase = self.plan[number]
        boundary = self.model.boundary_below(phase.unfreeze)
        train, val = len(self.data.train), len(self.data.val)
        views = 1 if phase.augment == "none" else view_count(phase)
        fits = boundary != PIXELS and self.frozen.fits(self.data.train, boundary, views)
        decode = 0.0 if self.decoded else self._decode_seconds() * (train + val)
        self.decoded = True
        forward, compiling = self._forward_seconds(boundary)
        look = self._look_seconds(phase)
        absent, judged = self._missing(number, boundary, views, done) if fits else (0, 0)
        step, tracing, open_bytes = self._step_seconds(phase, boundary)
        live = 0.0 if fits else forward
        epoch = (step + live + (0.0 if fits else look)) * train + (step / 3 + live) * val
        epoch += EPOCH + 4 * open_bytes / DISK_RATE
        cache = self.frozen.row_bytes(boundary) * views * train if fits else 0
        if fits and boundary != POOLED:
            cache //= 2  # feature maps are kept in half precision where that does no harm
        start = tracing + (compiling if absent or not fits else 0.0)
        others = decode + forward * judged
        return PhaseCost(
            phase.name, (forward + look) * absent, others, start, epoch, phase.epochs, cache
        )

    def _missing(self, number, boundary, views, done: set[tuple]) -> tuple[int, int]:
        """Returns how many rows are to be computed for training and for validation."""
        phase = self.plan[number]
        look = (phase.augment, phase.strength, views)
        if (*look, boundary) in done:
            return 0, 0  # came out of the head phase's pass
        below = session.boundary_of_same_pass(self.frozen, self.plan, number, self.data.train)
        done.add((*look, below))
        policy = apply.policy(phase.augment, phase.strength)
        views_of = [frozen.View(policy, self.seed, number) for number in range(views)]
        train = sum(self._absent(self.data.train, boundary, view) for view in views_of)
        return train, self._absent(self.data.val, boundary, frozen.View())

    def _look_seconds(self, phase: Phase) -> float:
        """Returns seconds for drawing one augmented view of one image."""
        policy = apply.policy(phase.augment, phase.strength)
        if policy == apply.POLICIES["none"]:
            return 0.0
        rows = self.rng.integers(0, 256, (BATCH, *self.model.boundary_shape(PIXELS)))
        names = np.resize(np.array(self.data.train.hashes), BATCH)
        pixels_ = rows.astype(np.uint8)
        return self._least(lambda: apply.look(pixels_, names, policy, self.seed, 0)) / BATCH

    def _absent(self, images, boundary, view) -> int:
        kind = self.frozen.kind(images, boundary, view)
        return len(self.store.missing(kind, images.hashes))

    def _decode_seconds(self) -> float:
        images = self.data.train
        kind = decoded.pixel_kind(self.model.rule)
        absent = self.store.missing(kind, images.hashes)
        if not len(absent) or images.table.arrays is not None:
            return 0.0
        chosen = absent[np.linspace(0, len(absent) - 1, min(SAMPLE, len(absent))).astype(int)]
        paths = [images.files[i] for i in chosen]
        list(pixels.load_paths(paths[:1], self.model.rule))
        began = self.clock()
        list(pixels.load_paths(paths, self.model.rule))
        return (self.clock() - began) / len(paths) * len(absent) / len(images)

    def _forward_seconds(self, boundary) -> tuple[float, float]:
        """Returns seconds for a row at `boundary`, and for compiling what makes it."""
        if boundary == PIXELS:
            return 0.0, 0.0
        shape = (BATCH, *self.model.boundary_shape(PIXELS))
        x = self.rng.uniform(0, 255, shape).astype(np.float32)
        began = self.clock()
        call = self.frozen.engine((boundary,), x).call
        call(x)
        compiling = self.clock() - began
        return self._least(lambda: call(x)) / BATCH, compiling

    def _step_seconds(self, phase: Phase, boundary) -> tuple[float, float, int]:
        """Returns seconds for a training row and for tracing, and the bytes of what is open."""
        model = self.model
        size = min(phase.batch_size, len(self.data.train))
        x = self.rng.normal(size=(size, *model.boundary_shape(boundary))).astype(np.float32)
        with _put_back(model):
            began = self.clock()
            trainee = phase_trainer.Trainee(model, phase)
            trainee.together = phase_trainer.TOGETHER
            steps = phase_trainer.TOGETHER if trainee.joined else phase.accumulate
            labels = self.rng.integers(0, len(model.class_names), steps * size)
            rows = Rows(lambda part, view: x[part % size], labels)
            trainee.logits(Rows(rows.batch, labels[:size]))
            list(trainee.epoch(rows, (0, 0), 0))
            tracing = self.clock() - began
            seconds = self._least(lambda: list(trainee.epoch(rows, (0, 0), 0))) / len(rows)
        return seconds, tracing, _bytes(trainee.variables)

    def _least(self, job) -> float:
        job()
        seconds = []
        for _ in range(PASSES):
            began = self.clock()
            job()
            seconds.append(self.clock() - began)
        return min(seconds)


@contextlib.contextmanager
def _put_back(model):
    """Ends with values, flags and momenta as they were, also where Ctrl-C ends the timing."""
    kept = [variable.numpy().copy() for variable in model.variables]
    flags = [layer.trainable for layer in model.backbone.net.layers]
    live, whole, slow = model.extractor.live, model.extractor.trainable, _momenta(model)
    try:
        yield
    finally:
        for variable, value in zip(model.variables, kept, strict=True):
            variable.assign(value)
        model.extractor.live, model.extractor.trainable = live, whole
        for layer, flag in zip(model.backbone.net.layers, flags, strict=True):
            layer.trainable = flag
        for layer, momentum in slow:
            layer.momentum = momentum


def _momenta(model) -> list[tuple[Any, float]]:
    layers = [layer for name in model.stages for layer in model.stage_layers(name)]
    return [(layer, layer.momentum) for layer in layers if hasattr(layer, "momentum")]


def _bytes(variables) -> int:
    return sum(int(np.prod(v.shape)) * 4 for v in variables)
