"""Pretrained backbones: a network without classifier, and the layer that feeds it raw pixels.

`tlkit.backbones.table` says what there is, without Keras; this module builds it.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras

from tlkit import nets
from tlkit.backbones import surgery
from tlkit.backbones.backbone import (
    Backbone,
    Stage,
)
from tlkit.backbones.imagenet import imagenet_file
from tlkit.backbones.preprocess import Preprocess
from tlkit.backbones.table import TABLE, Spec, lookup
from tlkit.backbones.weights import Official, inflate, load_weights
from tlkit.errors import TlkitError, unknown


def load(
    name: str,
    *,
    size: int | None = None,
    channels: int = 3,
    weights: str | None = "imagenet",
    seed: int = 0,
) -> Backbone:
    """Returns a backbone from the table, or from `tlkit.nets`, with its weights.

    Args:
        name: An exact name of either; otherwise any spelling of one in the table.
        size: Pixels per side; that of the paper if None.
        channels: Of the raw pictures. One is gray, and a backbone of the table then answers
            exactly as for the same picture as RGB. With more than three, RGB comes first, and the
            stem is inflated (`tlkit.backbones.weights.inflate`) unless the file is for as many.
        weights: "imagenet", "none", or a file: see `tlkit.backbones.weights.load_weights`.
        seed: For random values; it has no effect on loaded ones.

    Raises:
        TlkitError: Unknown name, a size too small for the network, or weights that cannot be had.
    """
    if name not in TABLE and name in nets.names():
        return _load_net(name, size, channels, weights, seed)
    row = lookup(name)
    if row is None:
        raise unknown("backbone", name, [*TABLE, *nets.names()])
    size = size or row.size
    # Always, so that the architecture does not depend on where the values come from.
    planes = 3 if channels == 1 else channels
    net, origin = _filled(
        lambda n: build_network(row, size, n),
        planes,
        weights,
        official=_official(row, size),
        seed=seed,
    )
    preprocess = Preprocess(row.preprocessing, planes, name="preprocess")
    stages = tuple(Stage(*stage) for stage in row.stages)
    return Backbone(row.name, net, preprocess, stages, size, channels, origin)


def _filled(
    build: Callable[[int], Any], planes: int, weights: str | None, **more: Any
) -> tuple[Any, str]:
    """Returns `build(planes)` with its values, and where they came from.

    Published files are for three channels. For another number, a file of that very network is
    taken as it is; any other is read into a twin with three, whose stem is then inflated.
    """
    read = load_weights
    net = build(planes)
    if planes == 3 or weights is None or str(weights) == "none":
        return net, read(net, weights, **more)
    if str(weights) != "imagenet":
        with contextlib.suppress(TlkitError):
            return net, read(net, weights, **more)
    twin = build(3)
    origin = read(twin, weights, **more)
    net.set_weights(inflate(twin.get_weights(), [v.shape for v in net.weights]))
    return net, f"{origin}, inflated to {planes} channels"


def _official(row: Spec, size: int) -> Any:
    file, digest = imagenet_file(row.name, size) or (None, None)
    if file is None:
        return None
    return Official(file, digest, lambda: _construct(row, size, 3, weights="imagenet"))


def _construct(row: Spec, size: int, planes: int, **more: Any) -> Any:
    constructor = getattr(keras.applications, row.constructor)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3")
        warnings.filterwarnings("ignore", message=".*Weights for input shape")
        return constructor(
            include_top=False, input_shape=(size, size, planes), **{**dict(row.arguments), **more}
        )


def build_network(row: Spec, size: int, planes: int) -> Any:
    """Returns the network of a row, always without in-model preprocessing, with any weights.

    EfficientNet has no switch for that, and Keras builds it differently for ImageNet weights than
    for others, so that the official file loaded by path gives wrong answers in silence. Here the
    first layers are cut off and `Preprocess` does their work.
    """
    with _fresh_names():
        try:
            net = _construct(row, size, planes, weights=None)
        except ValueError as error:
            raise TlkitError(f"{row.name} cannot be built for {size} pixels: {error}") from error
        if not row.inside:
            return keras.Model(net.input, net.output, name=row.name)
        body = keras.Model(surgery.tensor_at(net, "normalization"), net.output, name=row.name)
        start = keras.Input((size, size, planes), name="input_layer")
        # A clone has one graph only, so that a layer's `output` is what one expects.
        return keras.models.clone_model(body, input_tensors=start)


@contextlib.contextmanager
def _fresh_names() -> Iterator[None]:
    """Makes Keras count automatic names ("add_12") from the start, then go on as before.

    Otherwise a second backbone in one process would have other names, which are our addresses and
    stay in saved models. `clear_session` would do the same but also reset everything else.
    """
    from keras.src.backend.common import global_state

    counters = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", None)
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", counters)


def _load_net(
    name: str, size: int | None, channels: int, weights: str | None, seed: int
) -> Backbone:
    """Loads a classic network from `tlkit.nets`, whose stem is built for the given channels."""
    info, pretrained = nets.info(name), lookup(name)
    if weights == "imagenet":
        hint = f" The pretrained one is {pretrained.name!r}." if pretrained else ""
        raise TlkitError(f"{name!r} comes without ImageNet weights.{hint} "
                         "Use --weights FILE or --weights none.")  # fmt: skip
    size = size or info.input_shape[0]

    def build(planes: int) -> Any:
        with _fresh_names():
            return nets.features(name, input_shape=(size, size, planes))

    net, origin = _filled(build, channels, weights, seed=seed)
    preprocess = Preprocess(info.pixels, channels, name="preprocess")
    stages = tuple(Stage(*stage) for stage in nets.stages(name))
    return Backbone(name, net, preprocess, stages, size, channels, origin)
