"""One phase of training on rows from below the freeze boundary.

The loop is ours so that one epoch is a pure function of the state before it: order and views come
from (seed, phase, epoch), rates from the step, and everything else that can change is listed in
`Trainee.moving`. Losses, optimizers and callbacks are Keras's own.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit.errors import TlkitError
from tlkit.features import folding
from tlkit.features.frozen import Rows
from tlkit.models.classifier import Classifier
from tlkit.models.network import POOLED
from tlkit.phases import batches, optimizers, regularisers
from tlkit.phases.phase import Phase, view_count
from tlkit.training.averaging import Average

# How slowly trained BatchNorm statistics follow. Some nets come with 0.999, made for millions of
# images: after a few hundred steps inference would still use the initial values.
MOMENTUM = 0.9

TOGETHER = 16  # steps of a head in one call


class Trainee:
    """What a phase trains: the open part of a classifier, its optimizer and compiled steps.

    Making one sets every `trainable` flag below the classifier and compiles the whole model with
    the same fresh optimizer settings, so that flags and compiled functions cannot disagree.

    Attributes:
        together: Most steps of a head in one call of TensorFlow, with the same numbers: what they
            give is yielded after the last of them. 1 yields right after each batch.
    """

    together = 1

    def __init__(self, model: Classifier, phase: Phase):
        self.model = model
        self.phase = phase
        self.boundary = model.boundary_below(phase.unfreeze)
        self.groups = set_trainable(model, phase)
        self.variables = [variable for group in self.groups.values() for variable in group]
        self.optimizer = _optimizer(model, phase, self.groups)
        self.optimizer.build(self.variables)
        self.objective = model.objective(phase)
        optimizer = _optimizer(model, phase, self.groups)
        model.keras_model.compile(optimizer, self.objective.compiled, metrics=["accuracy"])
        self.parts = [model.classify]
        if self.boundary != POOLED:
            self.parts.insert(0, model.segment(self.boundary, POOLED))
        self._run = [_runner(part, phase) for part in self.parts[:-1]]
        # What is judged is what will be used: in float32, however training multiplies.
        half = phase.arithmetic == "bfloat16"
        self._exact = [folding.fold(part) for part in self.parts[:-1]] if half else self._run
        self._pulls = regularisers.pulls(self.groups, phase.l2, phase.l2_sp)
        followed = [*self.variables, *_live_statistics(model)]  # statistics fit one set of weights
        self.average = Average(followed, phase.average) if phase.average else None
        self._sums = [tf.Variable(tf.zeros_like(v.value)) for v in self._summed]
        self._traced: dict[tuple, Callable] = {}

    @property
    def _summed(self) -> list[keras.Variable]:
        """The variables whose gradients are summed over several batches."""
        return self.variables if self.phase.accumulate > 1 else []

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

    @property
    def memory(self) -> list[tf.Variable]:
        """What a resumed phase needs besides `moving` and the optimizer: origins and averages."""
        origins = [pull.origin for pull in self._pulls if pull.origin is not None]
        return [*origins, *(self.average.values if self.average else [])]

    def judged(self):
        """Returns a context in which the weights are those to be judged and kept."""
        return self.average.in_place() if self.average else contextlib.nullcontext()

    def epoch(
        self, rows: Rows, seed: tuple[int, int], epoch: int, past: Sequence[float] = ()
    ) -> Iterator[dict[str, float]]:
        """Trains one epoch, yielding loss and number of images of each batch.

        Args:
            past: Validation losses of the phase's finished epochs, for schedules that look back.
        """
        view = epoch % view_count(self.phase)
        truth, weigh = self._truth(rows, view), self.objective.weigher(rows.labels)
        plan = batches.plan(rows.labels, self.phase, (*seed, epoch), past)
        groups = batches.together(plan, self.together if self.joined else 1)

        def fetch(group):
            return [rows.batch(batch.part, view) for batch in group]

        for group, x in zip(groups, batches.ahead(fetch, groups), strict=True):
            targets = [truth(batch.part) for batch in group]
            found = self._take(group, x, targets, [weigh(target) for target in targets])
            for batch, loss, right in zip(group, *found, strict=True):
                count = len(batch.part)
                yield {"loss": float(loss), "right": int(right), "count": count, "rate": batch.rate}

    @property
    def joined(self) -> bool:
        """Whether steps go through the loop inside TensorFlow: those of the head alone.

        Its step is so short that calling it costs more than the arithmetic. A tail's is not: the
        loop saved 3 % of an epoch there, for more time to trace it.
        """
        return self.boundary == POOLED and self.phase.accumulate == 1

    def _take(self, group, x, targets, weights) -> tuple[np.ndarray, np.ndarray]:
        """Takes the group's steps; returns the loss and the number of hits of each.

        One step alone of a head goes the same way as many: TensorFlow simplifies the two graphs
        differently, and the last digit must not depend on whether there are callbacks.
        """
        if not self.joined:
            loss, right = self._step(x[0], targets[0], group[0], weights[0])
            return loss.numpy()[None], right.numpy()[None]
        rates = np.array([batch.rate for batch in group], np.float32)
        arrays = [np.stack(x), np.stack(targets), rates]
        if weights[0] is not None:
            arrays.append(np.stack(weights))
        losses, rights = self._call("steps", self._train_steps, arrays, 2)
        return losses.numpy(), rights.numpy()

    def _step(self, x, truth, batch, weights=None):
        """Takes one step as `batch` says; returns loss and number of hits."""
        arrays = [x, truth, np.float32(batch.rate), np.float32(batch.share)]
        if weights is not None:
            arrays.append(weights)
        last = batch.last
        return self._call(("step", last), lambda *a: self._train_step(*a, last=last), arrays, 1)

    def _call(self, name, function: Callable, arrays: Sequence[Any], axes: int):
        """Calls `function`, traced once for all lengths of the arrays' first `axes` axes.

        A last batch that is shorter would else be traced once more, which takes as long as many
        steps.
        """
        tensors = [tf.convert_to_tensor(array) for array in arrays]
        key = (name, *((tensor.dtype, len(tensor.shape)) for tensor in tensors))
        if key not in self._traced:
            specs = [_any_length(tensor, axes) for tensor in tensors]
            traced = tf.function(function, autograph=False).get_concrete_function(*specs)
            self._traced[key] = traced
        return self._traced[key](*tensors)

    @staticmethod
    def _truth(rows: Rows, view: int) -> Callable[[np.ndarray], np.ndarray]:
        """Returns what gives the labels of some positions, or their soft targets."""
        if rows.targets is None:
            return lambda part: rows.labels[part]
        targets = rows.targets
        return lambda part: targets(part, view)

    def step(self, x, truth, rate: float) -> float:
        """Takes one step at `rate` on a batch of rows and returns its loss."""
        loss, _ = self._step(x, truth, batches.Batch(np.arange(len(x)), rate, 1.0, True))
        return float(loss)

    def logits(self, rows: Rows, batch: int = 256) -> np.ndarray:
        """Returns the logits of every row in inference mode, float32 [n, classes]."""
        order = np.arange(len(rows))
        parts = [order[start : start + batch] for start in range(0, len(rows), batch)]
        found = (self._call("logits", self._logits, [rows.batch(part, 0)], 1) for part in parts)
        return np.concatenate([logits.numpy() for logits in found])

    def _logits(self, x, training=False):
        x = tf.cast(x, tf.float32)
        for run in self._run if training else self._exact:
            x = run(x, training=training and self.phase.batch_norm == "train")
        return self.parts[-1](x, training=training)

    def _train_step(self, x, truth, rate, share, weights=None, *, last):
        """Takes one batch; `last` says whether the sum of gradients is applied with it.

        Args:
            share: Part of the images of this update that the batch holds.
            weights: What each image counts, or None for all the same.
        """
        with tf.GradientTape() as tape:
            logits = self._logits(x, training=True)
            each = self.objective.each(truth, logits)
            loss = tf.reduce_mean(each if weights is None else each * weights)
            total = loss + sum(extra for part in self.parts for extra in part.losses)
            total += sum(pull() for pull in self._pulls)
        gradients = tape.gradient(total, [variable.value for variable in self.variables])
        if self._sums:
            gradients = self._gathered(gradients, share)
        if last:
            self._update(gradients, rate)
        hits = self.objective.hits(truth, logits)
        return loss, tf.reduce_sum(tf.cast(hits, tf.int32))

    def _train_steps(self, x, truth, rates, weights=None):
        """Takes one step after the other on x [steps, batch, ...], all in one call."""
        steps = tf.shape(rates)[0]

        def body(i, found, rights):
            mine = None if weights is None else weights[i]
            loss, right = self._train_step(x[i], truth[i], rates[i], 1.0, mine, last=True)
            return i + 1, found.write(i, loss), rights.write(i, right)

        start = (tf.constant(0), tf.TensorArray(tf.float32, steps), tf.TensorArray(tf.int32, steps))
        _, found, rights = tf.while_loop(
            lambda i, *_: i < steps, body, start, parallel_iterations=1
        )
        return found.stack(), rights.stack()

    def _gathered(self, gradients, share):
        """Adds the batch's gradients, by its share of the update's images, to the sums."""
        for total, gradient in zip(self._sums, gradients, strict=True):
            total.assign_add(share * gradient)
        return [tf.identity(total) for total in self._sums]

    def _update(self, gradients, rate):
        for total in self._sums:
            total.assign(tf.zeros_like(total))
        if self.phase.clip:
            gradients, _ = tf.clip_by_global_norm(gradients, self.phase.clip)
        step = tf.identity(self.optimizer.iterations.value)
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply(gradients, self.variables)
        if self.average:
            self.average.update(step)


def _runner(part: keras.Model, phase: Phase) -> Callable:
    """Returns what runs a part of the network in training."""
    if phase.batch_norm == "train":
        return part
    half = phase.arithmetic == "bfloat16"
    if half and (why := folding.obstacle(part)):
        raise TlkitError(f"Phase {phase.name!r} cannot multiply in bfloat16: {why}.")
    return folding.fold(part, bfloat16=half)


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


def _live_statistics(model: Classifier) -> list[keras.Variable]:
    """Returns the moving means and variances that follow the batches in training."""
    layers = (layer for name in model.stages for layer in model.stage_layers(name))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    return _unique(v for norm in norms if norm.trainable for v in norm.non_trainable_variables)


def _optimizer(model, phase, groups) -> keras.optimizers.Optimizer:
    """Builds the phase's optimizer: rates fall with depth, kernels alone decay."""
    rates, decays = [], []
    for name, group in groups.items():
        above = 0 if name == "head" else len(model.stages) - 1 - model.stages.index(name)
        rates += [phase.decay**above] * len(group)
        decays += [phase.weight_decay if len(v.shape) > 1 else 0.0 for v in group]
    return optimizers.build(phase.optimizer, phase.rate, rates=rates, decays=decays)


def _any_length(array: tf.Tensor, axes: int) -> tf.TensorSpec:
    """Returns what stands for such arrays with any length of the first `axes` axes."""
    lengths = [None] * min(axes, len(array.shape))
    return tf.TensorSpec([*lengths, *array.shape[axes:]], array.dtype)


def _unique(variables) -> list[keras.Variable]:
    return list({id(variable): variable for variable in variables}.values())


def callback_list(callbacks: Sequence[keras.callbacks.Callback], model: keras.Model):
    """Returns Keras's own container, which gives callbacks their model and calls them in turn."""
    return keras.callbacks.CallbackList(list(callbacks), model=model)
