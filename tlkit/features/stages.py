"""Every stage's pooled features of every image from one pass, and what BatchNorm sees on the way.

Rows are kept in the shared store under the weights' digest, so a second look costs nothing.
"""

import dataclasses
import time
from collections.abc import Iterator

import keras
import numpy as np

from tlkit import files, progress
from tlkit.backbones import surgery, weights
from tlkit.features import decoded, engines
from tlkit.features.store import Store
from tlkit.models.classifier import Classifier
from tlkit.models.network import PIXELS


@dataclasses.dataclass(frozen=True, eq=False)
class Norms:
    """A BatchNorm layer's input on each image, and the values it was trained on.

    Attributes:
        mean, square: float32 [n, channels], over positions, of the input and of its square.
        moving_mean, moving_variance: [channels], the layer's own.
    """

    mean: np.ndarray
    square: np.ndarray
    moving_mean: np.ndarray
    moving_variance: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class StageFeatures:
    """What one pass of a backbone over n images gave.

    Attributes:
        stages: Stage name to float32 [n, channels], its output averaged over positions; in depth
            order. What the head sees is the last.
        norms: Stage name to its last BatchNorm layer; stages without one are left out.
        rate: Images per second of the network on this machine, when the pass was last made.
    """

    stages: dict[str, np.ndarray]
    norms: dict[str, Norms]
    rate: float

    def all_stages(self) -> np.ndarray:
        """Returns float32 [n, sum of channels]: a linear classifier on all stages sees this."""
        return np.concatenate([_unit(rows) for rows in self.stages.values()], axis=1)


def stage_features(model: Classifier, images, store: Store) -> StageFeatures:
    """Returns the features of `images` at every stage of the backbone of `model`.

    Args:
        images: An `Images` value; the plain view of each is used.
        store: Where rows are kept; a second call is answered from there.
    """
    boundaries = {stage.name: stage.boundary for stage in model.backbone.stages}
    norms = _last_norms(model.backbone.net, boundaries)
    part = _network(model, boundaries, norms)
    kind = _kind(model, [*boundaries, *norms], store.engine)
    clock = files.home() / "advice" / f"{kind}.json"

    def compute(positions):
        yield from _computed(part, model, images, store, positions, clock)

    rows = store.rows(kind, images.hashes, compute)
    rate = files.read_json(clock)["rate"] if clock.exists() else float("nan")
    return _parted(rows, model, boundaries, norms, rate)


def _network(model, boundaries, norms) -> keras.Model:
    """Returns the model from pixels to one row: stages, then means and squares of norms' inputs."""
    net = model.backbone.net
    seen = [_input_of(net, layer) for layer in norms.values()]
    ends = [surgery.tensor_at(net, name) for name in boundaries.values()]
    # Pooled outside: layers added to the network's own graph could take one of its names.
    rest = keras.Model(net.input, ends + seen, name="taps")
    inputs = keras.Input(model.keras_model.input.shape[1:], name=PIXELS)
    taps = rest(model.backbone.preprocess(inputs))
    taps = taps if isinstance(taps, list) else [taps]
    parts = [_pooled(tap) for tap in taps[: len(ends)]]
    for tap in taps[len(ends) :]:
        parts += [_pooled(tap), _pooled(keras.ops.square(tap))]
    return keras.Model(inputs, keras.layers.Concatenate()(parts) if parts[1:] else parts[0])


def _pooled(tensor):
    if len(tensor.shape) == 4:
        return keras.layers.GlobalAveragePooling2D()(tensor)
    return keras.layers.Flatten()(tensor)


def _last_norms(net, boundaries) -> dict[str, keras.layers.BatchNormalization]:
    """Returns the last BatchNorm on four axes of each stage; more would only cost memory."""
    found = {}
    for stage, part in zip(boundaries, surgery.segments(net, boundaries.values()), strict=True):
        for operation in part:
            is_norm = isinstance(operation, keras.layers.BatchNormalization)
            if is_norm and len(_input_of(net, operation).shape) == 4:
                found[stage] = operation
    return found


def _input_of(net, layer):
    return next(n.input_tensors[0] for n in surgery.nodes(net) if n.operation is layer)


def _kind(model, names, engine) -> str:
    return files.combined_hash(
        "stages",
        1,
        model.backbone.name,
        model.backbone.preprocess.get_config(),
        weights.fingerprint(model.backbone.net.weights),
        dataclasses.astuple(model.rule),
        names,
        engines.signature(engine),
    )


def _computed(part, model, images, store, positions, clock) -> Iterator[np.ndarray]:
    pixels = decoded.pixel_rows(store, images, model.rule)
    parts = [positions[i : i + engines.BATCH] for i in range(0, len(positions), engines.BATCH)]
    sample = np.asarray(pixels[np.resize(parts[0], engines.BATCH)], np.float32)
    call = engines.compile(part, sample, engine=store.engine).call
    text = f"{model.backbone.name}: all stages of {len(positions):,} images"
    seconds = []
    for rows in progress.track(parts, text, unit=engines.BATCH):
        # One batch size, so that a row is the same bits whichever rows share its batch.
        source = np.asarray(pixels[np.resize(rows, engines.BATCH)], np.float32)
        began = time.perf_counter()
        (batch,) = call(source)
        seconds.append(time.perf_counter() - began)
        yield np.asarray(batch[: len(rows)], np.float32)
    # The median: the first batch warms up, and another process may have had its turn.
    files.write_json(clock, {"rate": engines.BATCH / max(float(np.median(seconds)), 1e-9)})


def _parted(rows, model, boundaries, norms, rate) -> StageFeatures:
    """Cuts the rows where `_network` joined them."""
    net = model.backbone.net
    ends = [np.prod(_pooled_shape(surgery.tensor_at(net, b))) for b in boundaries.values()]
    for layer in norms.values():
        ends += [_input_of(net, layer).shape[-1]] * 2
    cut = np.split(rows, np.cumsum(np.array(ends, np.int64))[:-1], axis=1)
    stages = dict(zip(boundaries, cut, strict=False))
    rest = iter(cut[len(boundaries) :])
    seen = {
        stage: Norms(
            next(rest), next(rest), layer.moving_mean.numpy(), layer.moving_variance.numpy()
        )
        for stage, layer in norms.items()
    }
    return StageFeatures(stages, seen, rate)


def _pooled_shape(tensor) -> tuple[int, ...]:
    return tensor.shape[-1:] if len(tensor.shape) == 4 else tuple(tensor.shape[1:])


def _unit(rows: np.ndarray) -> np.ndarray:
    """Scales a stage as a whole: stages differ in size by orders of magnitude, not in use."""
    centred = rows - rows.mean(0)
    return centred / max(float(np.sqrt((centred**2).sum(1).mean())), 1e-12)
