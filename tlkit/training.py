"""One phase of training on rows from below the freeze boundary.

The loop is ours so that one epoch is a pure function of the state before it: order and views come
from (seed, phase, epoch), rates from the step, and everything else that can change is listed in
`Trainee.moving`. Losses, optimizers and callbacks are Keras's own.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from tlkit import folded, losses, optimizers
from tlkit.features import Rows
from tlkit.model import POOLED, Classifier
from tlkit.phases import Phase, rate_at, view_count

# How slowly trained BatchNorm statistics follow. Some nets come with 0.999, made for millions of
# images: after a few hundred steps inference would still use the initial values.
MOMENTUM = 0.9


class Trainee:
    """What a phase trains: the open part of a classifier, its optimizer and compiled steps.

    Making one sets every `trainable` flag below the classifier and compiles the whole model with
    the same fresh optimizer settings, so that flags and compiled functions cannot disagree.
    """

    def __init__(self, model: Classifier, phase: Phase):
        self.model = model
        self.phase = phase
        self.boundary = model.boundary_below(phase.unfreeze)
        self.groups = set_trainable(model, phase)
        self.variables = [variable for group in self.groups.values() for variable in group]
        self.optimizer = _optimizer(model, phase, self.groups)
        self.optimizer.build(self.variables)
        model.keras_model.compile(
            _optimizer(model, phase, self.groups),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        self.parts = [model.classify]
        if self.boundary != POOLED:
            self.parts.insert(0, model.segment(self.boundary, POOLED))
        live = phase.batch_norm == "train"
        self._run = [part if live else folded.fold(part) for part in self.parts[:-1]]
        self._loss = losses.get(phase.loss)
        self._step = tf.function(self._train_step, autograph=False, reduce_retracing=True)
        self._infer = tf.function(self._logits, autograph=False, reduce_retracing=True)

    @property
    def moving(self) -> list[keras.Variable]:
        """Every variable this phase can change: weights, live statistics, dropout's seeds."""
        unique = {id(v): v for part in self.parts for v in part.variables}
        return list(unique.values())

    @property
    def frozen(self) -> list[keras.Variable]:
        """Every weight of the classifier that must stay bit-equal in this phase."""
        free = {id(variable) for variable in self.variables}
        if self.phase.batch_norm == "train":
            free |= {id(v) for part in self.parts for v in part.weights}
        return [v for v in self.model.keras_model.weights if id(v) not in free]

    def epoch(self, rows: Rows, seed: tuple[int, int], epoch: int) -> Iterator[dict[str, float]]:
        """Trains one epoch, yielding loss and number of images right after each step."""
        order = np.random.default_rng([*seed, epoch]).permutation(len(rows))
        size = self.phase.batch_size
        steps = -(-len(rows) // size)
        view = epoch % view_count(self.phase)
        parts = [order[step * size : (step + 1) * size] for step in range(steps)]
        batches = _ahead(lambda part: rows.batch(part, view), parts)
        for step, (part, x) in enumerate(zip(parts, batches, strict=True)):
            rate = rate_at(self.phase, epoch * steps + step, self.phase.epochs * steps)
            loss, right = self._step(x, rows.labels[part], tf.constant(rate, tf.float32))
            yield {"loss": float(loss), "right": int(right), "count": len(part), "rate": rate}

    def logits(self, rows: Rows, batch: int = 256) -> np.ndarray:
        """Returns the logits of every row in inference mode, float32 [n, classes]."""
        order = np.arange(len(rows))
        parts = [order[start : start + batch] for start in range(0, len(rows), batch)]
        return np.concatenate([self._infer(rows.batch(part, 0)).numpy() for part in parts])

    def _logits(self, x, training=False):
        x = tf.cast(x, tf.float32)
        for run in self._run:
            x = run(x, training=training and self.phase.batch_norm == "train")
        return self.parts[-1](x, training=training)

    def _train_step(self, x, labels, rate):
        with tf.GradientTape() as tape:
            logits = self._logits(x, training=True)
            loss = tf.reduce_mean(self._loss(labels, logits, self.phase.smoothing))
            total = loss + sum(extra for part in self.parts for extra in part.losses)
        gradients = tape.gradient(total, [variable.value for variable in self.variables])
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply(gradients, self.variables)
        hit = tf.equal(tf.argmax(logits, -1), tf.cast(labels, tf.int64))
        return loss, tf.reduce_sum(tf.cast(hit, tf.int32))


def set_trainable(model: Classifier, phase: Phase) -> dict[str, list[keras.Variable]]:
    """Sets every `trainable` flag for `phase`; returns the open variables by stage and head."""
    open_stages = model.stages_from(phase.unfreeze) if phase.unfreeze else ()
    live = phase.batch_norm == "train" and bool(open_stages)
    model.extractor.live = live
    model.extractor.trainable = True  # a parent's False would hide its children's True
    groups = {}
    for name in model.stages:
        layers = model.stage_layers(name)
        for layer in layers:
            norm = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = name in open_stages and (live or not norm)
            if norm and layer.trainable:
                layer.momentum = min(layer.momentum, MOMENTUM)
        if name in open_stages:
            groups[name] = _unique(v for layer in layers for v in layer.trainable_variables)
    groups["head"] = list(model.classify.trainable_variables)
    return {name: group for name, group in groups.items() if group}


def _optimizer(model, phase, groups) -> keras.optimizers.Optimizer:
    """Builds the phase's optimizer: rates fall with depth, kernels alone decay."""
    rates, decays = [], []
    for name, group in groups.items():
        above = 0 if name == "head" else len(model.stages) - 1 - model.stages.index(name)
        rates += [phase.decay**above] * len(group)
        decays += [phase.weight_decay if len(v.shape) > 1 else 0.0 for v in group]
    return optimizers.build(phase.optimizer, phase.rate, rates=rates, decays=decays)


def _ahead(function: Callable, items: Sequence) -> Iterator:
    """Yields function(item) for each item in order, computing one item ahead in a thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for item in items:
            started = pool.submit(function, item)
            if waiting is not None:
                yield waiting.result()
            waiting = started
        if waiting is not None:
            yield waiting.result()


def _unique(variables) -> list[keras.Variable]:
    return list({id(variable): variable for variable in variables}.values())


def callback_list(callbacks: Sequence[keras.callbacks.Callback], model: keras.Model):
    """Returns Keras's own container, which gives callbacks their model and calls them in turn."""
    return keras.callbacks.CallbackList(list(callbacks), model=model)
