"""The classifier: preprocess, backbone, pool and head, and the places where it can be cut.

Raw pixels 0..255 go in, logits come out. Augmentation is not part of it, so a trained, saved and
exported model are the same object. Every tool that needs a part of the network asks `segment` for
what lies between two boundaries: `pixels`, the backbone's stages by name, `pooled`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit import files, nets
from tlkit.backbones import loading, surgery
from tlkit.backbones.backbone import Backbone, Stage, reinitialise, stage_layers
from tlkit.backbones.table import spec
from tlkit.errors import TlkitError, unknown
from tlkit.evaluation import calibration
from tlkit.images import pixels
from tlkit.models import heads
from tlkit.models.extractor import Extractor
from tlkit.models.heads import Head

PIXELS, POOLED = "pixels", "pooled"


class Classifier:
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
        self._assemble(pool, classify)

    def _assemble(self, pool, classify):
        side, channels = self.rule.size, self.rule.channels
        inputs = keras.Input((side, side, channels), name=PIXELS)
        extractor = Extractor(self.backbone.net, name="backbone")
        logits = classify(pool(extractor(self.backbone.preprocess(inputs))))
        self.keras_model = keras.Model(inputs, logits, name="classifier")
        self._connect()

    def _connect(self):
        """Points the parts at the layers of `keras_model`, the one owner of every variable."""
        layer = self.keras_model.get_layer
        self.extractor = layer("backbone")
        self.pool, self.classify = layer("pool"), layer("head")
        self._pooled = self.pool(self.backbone.net.output)
        self._logits = tf.function(
            functools.partial(self.keras_model, training=False),
            input_signature=[tf.TensorSpec(self.keras_model.input.shape, tf.float32)],
            autograph=False,
        )

    @property
    def stages(self) -> tuple[str, ...]:
        """The backbone's stage names in order of depth."""
        return tuple(stage.name for stage in self.backbone.stages)

    def stages_from(self, name: str) -> tuple[str, ...]:
        """Returns stage `name` and all above it; `all` is every stage."""
        if name == "all":
            return self.stages
        if name not in self.stages:
            raise unknown(f"stage of {self.backbone.name}", name, (*self.stages, "all"))
        return self.stages[self.stages.index(name) :]

    def boundary_below(self, unfreeze: str | None) -> str:
        """Returns the boundary under which all is frozen when training starts at `unfreeze`."""
        if unfreeze is None:
            return POOLED
        below = len(self.stages) - len(self.stages_from(unfreeze))
        return self.stages[below - 1] if below else PIXELS

    def segment(self, start: str, *ends: str) -> keras.Model:
        """Returns the part of the network between boundaries, sharing its variables.

        Args:
            start, ends: `pixels`, a stage name (the boundary after that stage) or `pooled`. With
                several ends the part has as many outputs.
        """
        outputs = [self._tensor(end) for end in ends]
        wanted = outputs[0] if len(outputs) == 1 else outputs
        if start == PIXELS:
            inputs = keras.Input(self.keras_model.input.shape[1:], name=PIXELS)
            rest = keras.Model(self.backbone.net.input, wanted)
            return keras.Model(inputs, rest(self.backbone.preprocess(inputs)))
        return keras.Model(self._tensor(start), wanted)

    def boundary_shape(self, boundary: str) -> tuple[int, ...]:
        """Returns the shape of one image's row at a boundary."""
        if boundary == PIXELS:
            return tuple(self.keras_model.input.shape[1:])
        return tuple(self._tensor(boundary).shape[1:])

    @property
    def variables(self) -> list[keras.Variable]:
        """Every variable, dropout's random states included, in a fixed order."""
        return [*self.extractor.variables, *self.classify.variables]

    def _tensor(self, boundary):
        if boundary == POOLED:
            return self._pooled
        stage = self.backbone.stages[self.stages.index(boundary)]
        return surgery.tensor_at(self.backbone.net, stage.boundary)

    def stage_layers(self, name: str) -> list[keras.layers.Layer]:
        """Returns the layers of one stage that have weights."""
        return stage_layers(self.backbone)[name]

    def logits(self, rows: np.ndarray, batch: int = 64) -> np.ndarray:
        """Returns logits float32 [n, classes] of pixels [n, size, size, channels], 0..255."""
        parts = [self._logits(np.asarray(part, np.float32)) for part in _batches(rows, batch)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.class_names)), np.float32)

    def predict(self, images: Sequence[str | bytes | Path] | np.ndarray) -> np.ndarray:
        """Returns calibrated probabilities, float32 [n, classes].

        Args:
            images: Paths or encoded bytes, or pixels [n, height, width, channels], 0..255.
        """
        rows = [pixels.load_any(image, self.rule) for image in images]
        return calibration.softmax(self.logits(np.stack(rows)), self.temperature)

    def save(self, folder: str | Path) -> None:
        """Writes `model.keras` and `classifier.json` into `folder`, each atomically."""
        folder = Path(folder)
        with files.replacing(folder / "model.keras") as temporary:
            self.keras_model.save(temporary)
        files.write_json(folder / "classifier.json", self.describe())

    def describe(self) -> dict[str, Any]:
        """Returns everything but the weights, as plain values for JSON."""
        return {
            "class_names": list(self.class_names),
            "rule": dataclasses.asdict(self.rule),
            "head": dataclasses.asdict(self.head),
            "temperature": self.temperature,
            "backbone": self.backbone.name,
            "stages": [dataclasses.asdict(stage) for stage in self.backbone.stages],
            "weights": self.backbone.weights,
        }

    @classmethod
    def load(cls, folder: str | Path) -> "Classifier":
        """Reads what `save` wrote."""
        folder = Path(folder)
        if not (folder / "classifier.json").exists():
            raise TlkitError(f"{folder} holds no tlkit model: there is no classifier.json in it.")
        facts = files.read_json(folder / "classifier.json")
        keras_model = _load_keras(folder / "model.keras")
        model = cls.__new__(cls)
        model.class_names = tuple(facts["class_names"])
        model.rule = pixels.PixelRule(**facts["rule"])
        model.head = Head(**facts["head"])
        model.temperature = facts["temperature"]
        model.backbone = Backbone(
            name=facts["backbone"],
            net=keras_model.get_layer("backbone").net,
            preprocess=keras_model.get_layer("preprocess"),
            stages=tuple(Stage(**stage) for stage in facts["stages"]),
            size=model.rule.size,
            channels=model.rule.channels,
            weights=facts["weights"],
        )
        model.keras_model = keras_model
        model._connect()
        return model


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


def _load_keras(path: Path) -> keras.Model:
    # Our layers are registered by now, and may be found in the file.
    try:
        with nets.deep_graphs():
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, TypeError, ValueError) as error:
        raise TlkitError(f"Cannot load {path}: {error}") from error


def _batches(rows, batch) -> Iterator[np.ndarray]:
    return (rows[start : start + batch] for start in range(0, len(rows), batch))
