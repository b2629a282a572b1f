"""The classifier: a network whose outputs are the logits of named classes, one label per image."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit import files, nets
from tlkit.backbones import loading
from tlkit.backbones.backbone import Backbone, reinitialise
from tlkit.backbones.table import spec
from tlkit.errors import TlkitError
from tlkit.evaluation import calibration
from tlkit.images import pixels
from tlkit.models import heads
from tlkit.models.heads import Head
from tlkit.models.network import Network, Objective
from tlkit.phases import losses, sampling
from tlkit.phases.phase import Phase


class Classifier(Network):
    """A pretrained backbone with a new head for `class_names`.

    Args:
        backbone: A name of `tlkit backbones` or `tlkit nets`, a run folder or
            another `Classifier` whose trained backbone is taken over, or a loaded `Backbone`.
        class_names: The labels, in the order of the logits.
        weights: `imagenet`, a file (`.keras`, `.weights.h5`, legacy `.h5`), or None for random.
        size: Pixels along one side (the backbone's own by default), or a `PixelRule` that also
            says how to resize and how many channels.
        head: A kind of head by name, or a `Head`.
        replace_from: First stage that is given fresh random values, with all above it.
        seed: Fixes every random initial value.
    """

    def __init__(
        self,
        backbone: "str | Path | Classifier | Backbone",
        class_names: Iterable[str],
        *,
        weights: str | None = "imagenet",
        size: int | pixels.PixelRule | None = None,
        head: str | Head = "linear",
        replace_from: str | None = None,
        seed: int = 0,
    ):
        keras.utils.set_random_seed(seed)
        self.class_names = _checked_names(class_names)
        self.backbone, self.rule = _resolve(backbone, weights, size, seed)
        self.head = Head(head) if isinstance(head, str) else head
        self.temperature = 1.0
        if replace_from is not None:
            reinitialise(self.backbone, self.stages_from(replace_from), seed)
        features = self.backbone.net.output.shape[1:]
        keras.utils.set_random_seed(
            seed
        )  # loading may have drawn, or not, and the head must not know
        pool, classify = heads.build(
            self.head.kind, features, len(self.class_names), self.head.dropout, self.head.init
        )
        self.assemble(pool, classify)

    @functools.cached_property
    def _traced(self) -> Callable[[np.ndarray], Any]:
        return tf.function(
            functools.partial(self.keras_model, training=False),
            input_signature=[tf.TensorSpec(self.keras_model.input.shape, tf.float32)],
            autograph=False,
        )

    def logits(self, rows: np.ndarray, batch: int = 64) -> np.ndarray:
        """Returns logits float32 [n, classes] of pixels [n, size, size, channels], 0..255."""
        call = self._traced
        parts = [call(np.asarray(part, np.float32)) for part in _batches(rows, batch)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.class_names)), np.float32)

    def predict(self, images: Sequence[str | bytes | Path] | np.ndarray) -> np.ndarray:
        """Returns calibrated probabilities, float32 [n, classes].

        Args:
            images: Paths or encoded bytes, or pixels [n, height, width, channels], 0..255.
        """
        rows = [pixels.load_pixels(image, self.rule) for image in images]
        return calibration.softmax(self.logits(np.stack(rows)), self.temperature)

    def objective(self, phase: Phase) -> Objective:
        """Returns what a phase trains towards."""
        loss = losses.get(phase.loss)
        return Objective(
            each=lambda truth, logits: loss(truth, logits, phase.smoothing, phase.gamma),
            hits=_hits,
            weigher=functools.partial(_weigher, phase, len(self.class_names)),
            compiled=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )

    def judge(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Returns log loss (nats) and accuracy of uncalibrated logits, as an epoch records them."""
        return {
            "loss": calibration.log_loss(logits, labels),
            "accuracy": float(np.mean(logits.argmax(-1) == labels)),
        }

    def calibrate(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Sets the temperature that makes the probabilities of `logits` honest."""
        self.temperature = calibration.fit_temperature(logits, labels)

    def save(self, folder: str | Path) -> None:
        """Writes `model.keras` and `classifier.json` into `folder`, each atomically."""
        folder = Path(folder)
        self.save_network(folder / "model.keras")
        files.write_json(folder / "classifier.json", self.describe())

    def describe(self) -> dict[str, Any]:
        """Returns everything but the weights, as plain values for JSON."""
        return {
            "class_names": list(self.class_names),
            "head": dataclasses.asdict(self.head),
            "temperature": self.temperature,
            **self.describe_network(),
        }

    @classmethod
    def load(cls, folder: str | Path) -> "Classifier":
        """Reads what `save` wrote."""
        folder = Path(folder)
        if not (folder / "classifier.json").exists():
            raise TlkitError(f"{folder} holds no tlkit model: there is no classifier.json in it.")
        facts = files.read_json(folder / "classifier.json")
        model = cls.__new__(cls)
        model.class_names = tuple(facts["class_names"])
        model.head = Head(**facts["head"])
        model.temperature = facts["temperature"]
        model.load_network(folder / "model.keras", facts)
        return model


def _hits(truth, logits):
    """Returns whether the largest logit is the label's, or the largest soft target's."""
    named = tf.argmax(truth, -1) if len(truth.shape) == 2 else tf.cast(truth, tf.int64)
    return tf.equal(tf.argmax(logits, -1), named)


def _weigher(phase: Phase, classes: int, labels) -> Callable[[np.ndarray], np.ndarray | None]:
    if phase.class_weight == "none":
        return lambda truth: None
    weights = sampling.class_weights(labels, classes)
    return lambda truth: truth @ weights if truth.ndim == 2 else weights[truth]


def _resolve(backbone, weights, size, seed):
    """Returns the loaded backbone and the pixel rule."""
    if isinstance(backbone, str | Path) and (Path(backbone) / "classifier.json").exists():
        backbone = Classifier.load(backbone)
    if isinstance(backbone, Classifier):
        return _taken_over(backbone, size)
    if isinstance(backbone, Backbone):
        return backbone, _rule(size, backbone.size, backbone.channels)
    rule = _rule(size, default_size(str(backbone)), 3)
    loaded = loading.load(
        str(backbone), size=rule.size, channels=rule.channels, weights=weights, seed=seed
    )
    return loaded, rule


def default_size(backbone: str) -> int:
    """Returns the pixels along one side that a named backbone was made for."""
    if backbone in nets.names():
        return nets.info(backbone).input_shape[0]
    return spec(backbone).size


def _taken_over(source: Classifier, size):
    """Returns a copy of a trained classifier's backbone: the source itself must stay as it is."""
    rule = size
    if not isinstance(size, pixels.PixelRule):  # what it was trained on, resizing included
        rule = dataclasses.replace(source.rule, size=int(size or source.rule.size))
    if dataclasses.replace(rule, resize=source.rule.resize) != source.rule:
        raise TlkitError(
            f"The trained backbone sees {source.rule.size} pixels and {source.rule.channels} "
            f"channels; {rule.size} and {rule.channels} were asked for. Leave the size out."
        )
    net = keras.models.clone_model(source.backbone.net)
    net.set_weights(source.backbone.net.get_weights())
    origin = f"trained on {', '.join(source.class_names[:5])}"
    return dataclasses.replace(source.backbone, net=net, weights=origin), rule


def _rule(size, default, channels) -> pixels.PixelRule:
    if isinstance(size, pixels.PixelRule):
        return size
    return pixels.PixelRule(int(size or default), channels=channels)


def _checked_names(class_names) -> tuple[str, ...]:
    names = tuple(str(name) for name in class_names)
    if len(names) < 2 or len(set(names)) != len(names):
        raise TlkitError(f"A classifier needs two or more distinct class names, not {names}.")
    return names


def _batches(rows, batch) -> Iterator[np.ndarray]:
    return (rows[start : start + batch] for start in range(0, len(rows), batch))
