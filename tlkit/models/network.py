"""The network of a model: preprocessing, backbone, pool and head, and where it can be cut.

Raw pixels 0..255 go in. Augmentation is not part of it, so a trained, saved and exported model are
the same object. Every tool that needs a part of the network asks `segment` for what lies between
two boundaries: `pixels`, the backbone's stages by name, `pooled`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from tlkit import files, nets
from tlkit.backbones import surgery
from tlkit.backbones.backbone import Backbone, Stage, stage_layers
from tlkit.errors import TlkitError, unknown
from tlkit.images.pixels import PixelRule
from tlkit.models.extractor import Extractor

PIXELS, POOLED = "pixels", "pooled"


@dataclasses.dataclass(frozen=True)
class Objective:
    """What training asks of a task.

    Attributes:
        each: (truth, outputs) -> the loss of each image, float32 [n].
        hits: (truth, outputs) -> whether each image is right, bool [n].
        weigher: Labels of all training images -> (truth of a batch) -> its weights [n], or None
            for all the same.
        compiled: The loss that `keras_model` is compiled with, for Keras's own tools.
    """

    each: Callable[..., Any]
    hits: Callable[..., Any]
    weigher: Callable[..., Callable[..., Any]]
    compiled: keras.losses.Loss


class Network:
    """A backbone between its preprocessing and a head, as one Keras model that can be cut.

    What the outputs mean is the matter of a task, which stands on top; see `Classifier`.

    Attributes:
        backbone: What the head stands on.
        rule: How an image becomes pixels.
        keras_model: All of it, and the one owner of every variable.
    """

    backbone: Backbone
    rule: PixelRule
    keras_model: keras.Model

    def assemble(self, pool: keras.Model, classify: keras.Model) -> None:
        """Builds `keras_model` from the backbone and the two parts of a head."""
        side, channels = self.rule.size, self.rule.channels
        inputs = keras.Input((side, side, channels), name=PIXELS)
        extractor = Extractor(self.backbone.net, name="backbone")
        outputs = classify(pool(extractor(self.backbone.preprocess(inputs))))
        self.connect(keras.Model(inputs, outputs, name="classifier"))

    def connect(self, keras_model: keras.Model) -> None:
        """Takes a built or loaded model over: points the parts at its layers."""
        self.keras_model = keras_model
        layer = keras_model.get_layer
        self.extractor = layer("backbone")
        self.pool, self.classify = layer("pool"), layer("head")
        self._pooled = self.pool(self.backbone.net.output)

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

    def save_network(self, path: Path) -> None:
        """Writes `keras_model`, atomically."""
        with files.replacing(path) as temporary:
            self.keras_model.save(temporary)

    def describe_network(self) -> dict[str, Any]:
        """Returns what `load_network` needs besides the weights, as plain values."""
        return {
            "rule": dataclasses.asdict(self.rule),
            "backbone": self.backbone.name,
            "stages": [dataclasses.asdict(stage) for stage in self.backbone.stages],
            "weights": self.backbone.weights,
        }

    def load_network(self, path: Path, facts: dict[str, Any]) -> None:
        """Reads what `save_network` and `describe_network` wrote."""
        keras_model = _load_keras(path)
        self.rule = PixelRule(**facts["rule"])
        self.backbone = Backbone(
            name=facts["backbone"],
            net=keras_model.get_layer("backbone").net,
            preprocess=keras_model.get_layer("preprocess"),
            stages=tuple(Stage(**stage) for stage in facts["stages"]),
            size=self.rule.size,
            channels=self.rule.channels,
            weights=facts["weights"],
        )
        self.connect(keras_model)


def _load_keras(path: Path) -> keras.Model:
    # Our layers are registered by now, and may be found in the file.
    try:
        with nets.deep_graphs():
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, TypeError, ValueError) as error:
        raise TlkitError(f"Cannot load {path}: {error}") from error
