"""A backbone: preprocessing, network, and the stages it can be cut into."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tlkit.backbones import surgery, weights
from tlkit.errors import unknown


@dataclass(frozen=True)
class Stage:
    """A named piece of a backbone that ends with operation `boundary`."""

    name: str
    boundary: str


@dataclass(frozen=True)
class Backbone:
    """A network ready for a head, with everything that belongs to it."""

    name: str
    net: Any  # keras.Model: preprocessed pixels (batch, size, size, planes) -> feature map
    preprocess: Any  # Preprocess: raw pixels (batch, size, size, channels) -> input of `net`
    stages: tuple[Stage, ...]
    size: int
    channels: int  # of the raw pictures
    weights: str  # where the values came from, with a content hash


def frozen_until(backbone: Backbone, start: str) -> str | None:
    """Returns the boundary below `start`, which may then stay frozen; None if nothing is below.

    Args:
        start: A stage, or the first layer after any clean cut, such as "block_13_expand".
    """
    stages = [stage.name for stage in backbone.stages]
    if start in stages:
        i = stages.index(start)
        return backbone.stages[i - 1].boundary if i else None
    clean = surgery.clean_cuts(backbone.net)
    order = [op.name for op in backbone.net.operations]
    starts = {order[order.index(name) + 1]: name for name in clean if name != order[-1]}
    if start not in starts:
        raise unknown(f"stage of {backbone.name}", start, [*stages, *starts])
    return starts[start]


def stage_layers(backbone: Backbone) -> dict[str, list[Any]]:
    """Returns the layers with weights of each stage; together they hold every variable once."""
    parts = surgery.segments(backbone.net, [stage.boundary for stage in backbone.stages])
    return {
        stage.name: surgery.layers_with_weights(part)
        for stage, part in zip(backbone.stages, parts, strict=True)
    }


def reinitialise(backbone: Backbone, stages: Iterable[str], seed: int = 0) -> None:
    """Gives all variables of the named stages fresh initial values; others stay bit-equal.

    This is what the lectures call replacing layers, where unfreezing would start from the
    pretrained values.
    """
    layers = stage_layers(backbone)
    for name in stages:
        if name not in layers:
            raise unknown(f"stage of {backbone.name}", name, layers)
        weights.reinitialise(layers[name], seed)
