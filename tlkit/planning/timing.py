"""What single steps of a plan take on this machine, timed on a handful of images."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tlkit.augmentation import apply, policies
from tlkit.features import decoded, frozen
from tlkit.features.decoded import BATCH
from tlkit.features.frozen import Rows
from tlkit.images import pixels
from tlkit.images.dataset import Images
from tlkit.models.network import PIXELS
from tlkit.phases.phase import Phase
from tlkit.training import phase_trainer

SAMPLE = 32  # files decoded to time decoding
PASSES = 3  # timed repeats; the least counts


@dataclasses.dataclass(frozen=True)
class Timings:
    """What the steps of one phase take, in seconds.

    Attributes:
        decode: For one image, on average; those already decoded take nothing.
        forward: For one row through the frozen part.
        draw: For one augmented view of one image.
        step: For one row of a training step.
        compile: Once, for the frozen part.
        trace: Once, for the graphs of the open part.
        open_bytes: Bytes of the weights that are trained.
    """

    decode: float
    forward: float
    draw: float
    step: float
    compile: float
    trace: float
    open_bytes: int


class Timer:
    """Times single steps. Rows and weights it makes are thrown away.

    Args:
        below: What computes frozen rows; its model is the one that is timed.
        images: The training images.
        seed: Of the run, which its views depend on.
        clock: Seconds by which the steps are timed.
    """

    def __init__(
        self, below: frozen.Frozen, images: Images, *, seed: int, clock: Callable[[], float]
    ):
        self.frozen, self.model, self.images = below, below.model, images
        self.seed, self.clock = seed, clock
        self.rng = np.random.default_rng(0)

    def timings(self, phase: Phase) -> Timings:
        """Times what `phase` consists of."""
        boundary = self.model.boundary_below(phase.unfreeze)
        decode = self._decode
        forward, compiling = self._forward(boundary)
        draw = self._draw(phase)
        step, tracing, open_bytes = self._step(phase, boundary)
        return Timings(decode, forward, draw, step, compiling, tracing, open_bytes)

    @functools.cached_property
    def _decode(self) -> float:
        """Seconds for decoding an image, the same in all phases."""
        images, rule = self.images, self.model.rule
        absent = self.frozen.store.missing(decoded.pixel_kind(rule), images.hashes)
        if not len(absent) or images.table.arrays is not None:
            return 0.0
        chosen = absent[np.linspace(0, len(absent) - 1, min(SAMPLE, len(absent))).astype(int)]
        paths = [images.files[i] for i in chosen]
        list(pixels.load_paths(paths[:1], rule))  # the first one pays for setting up
        began = self.clock()
        list(pixels.load_paths(paths, rule))
        return (self.clock() - began) / len(paths) * len(absent) / len(images)

    def _forward(self, boundary: str) -> tuple[float, float]:
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

    def _draw(self, phase: Phase) -> float:
        """Returns seconds for drawing one augmented view of one image."""
        policy = policies.policy(phase.augment, phase.strength)
        if policy == policies.POLICIES["none"]:
            return 0.0
        rows = self.rng.integers(0, 256, (BATCH, *self.model.boundary_shape(PIXELS)))
        names = np.resize(np.array(self.images.hashes), BATCH)
        pixels_ = rows.astype(np.uint8)
        return self._least(lambda: apply.look(pixels_, names, policy, self.seed, 0)) / BATCH

    def _step(self, phase: Phase, boundary: str) -> tuple[float, float, int]:
        """Returns seconds for a training row and for tracing, and the bytes of what is open."""
        model = self.model
        size = min(phase.batch_size, len(self.images))
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
        return seconds, tracing, byte_count(trainee.variables)

    def _least(self, job: Callable[[], Any]) -> float:
        """Returns the least seconds of some repeats: whatever else runs only makes them longer."""
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


def byte_count(variables: Iterable[Any]) -> int:
    """Returns the bytes of float32 variables."""
    return sum(int(np.prod(v.shape)) * 4 for v in variables)
