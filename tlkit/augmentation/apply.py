"""Augmentation: what a view of an image is, drawn from (seed, view, image) and nothing else.

It stands outside the model, between decoded pixels and the backbone, so it cannot leak into an
export. Every number of a view comes from a hash of the seed, the view's number and the image's
own content: the order of images, threads and batches cannot change it, and the features of a view
can be cached and found again.

Which changes there are to choose from is in `warps` and `pixel_changes`, the choices made are in
`policies`, and partners for mixing in `mixing`.
"""

import collections
import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tlkit.augmentation import geometry
from tlkit.augmentation.pixel_changes import CHANGES, change
from tlkit.augmentation.policies import OPERATIONS, POLICIES, Change, Policy, policy
from tlkit.errors import TlkitError
from tlkit.files import content_hash

__all__ = [
    "OPERATIONS", "POLICIES", "Change", "Policy", "apply", "dataset_step", "draws", "look",
    "policy", "view_parameters",
]  # fmt: skip


def draws(hashes, seed: int, view: int, count: int, stream: str = "") -> np.ndarray:
    """Returns uniform numbers in [0, 1), float32 [len(hashes), count].

    Each row depends on its own content hash, the seed, the view and the stream only (the
    SplitMix64 mixer of Steele, Lea and Flood, OOPSLA 2014, used as a counter-based generator).
    Every change has a stream of its own, so that one more does not alter the others.
    """
    content = np.array([int(text[:16], 16) for text in hashes], np.uint64)
    lane = np.uint64(seed % 2**32) << np.uint64(32) | np.uint64(view)
    with np.errstate(over="ignore"):
        start = _mix(content ^ _mix(np.array([lane]))[0])[:, None]
        if stream:
            start = _mix(start ^ np.uint64(int(content_hash(stream.encode())[:16], 16)))
        bits = _mix(start + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return (bits >> np.uint64(40)).astype(np.float32) / np.float32(2**24)


def view_parameters(hashes, shape, chosen: Policy, seed: int, view: int) -> dict:
    """Returns what `apply` needs for one view of the images with these content hashes.

    Args:
        shape: (height, width) of the pixels in the view.

    Returns:
        A nest of arrays with n rows each: where needed, transform float32 [n, 8] (output to input
        coordinates, as TensorFlow's projective transform takes them), gain and offset float32
        [n, 1, 1, 1], and by the change's name `fields`, `values` and `masks`.
        Policies with chains have the same for each chain, and `weights` [n, 1 + chains].
    """
    draw = functools.partial(draws, hashes, seed, view)
    base: np.ndarray | None = None
    light: dict[str, np.ndarray] = {}
    if any(chosen.classic()):
        base, light = _classic_parameters(draw(9), shape, chosen)
    if not chosen.chains:
        return {**light, **_change_parameters(draw, shape, chosen, base, "")}
    first = {**light, **({} if base is None else {"transform": _flat(base)})}
    names = [f"chain{number}" for number in range(chosen.chains)]
    chains = [_change_parameters(draw, shape, chosen, None, name) for name in names]
    return {**first, "chains": chains, "weights": _weights(draw, chosen.chains)}


def _classic_parameters(u, shape, chosen) -> tuple[np.ndarray, dict]:
    signed = 2 * u - 1
    angle = np.radians(chosen.rotate * signed[:, 0])
    if chosen.quarter_turns:
        angle += np.pi / 2 * np.floor(4 * u[:, 1])
    scale = (1 + chosen.zoom) ** signed[:, 2]
    mirror = np.where(chosen.mirror & (u[:, 3] < 0.5), -1, 1)
    upside = np.where(chosen.upside_down & (u[:, 4] < 0.5), -1, 1)
    matrix = np.empty((len(u), 2, 2), np.float64)
    matrix[:, 0] = np.stack([np.cos(angle) * mirror, -np.sin(angle) * upside], 1)
    matrix[:, 1] = np.stack([np.sin(angle) * mirror, np.cos(angle) * upside], 1)
    matrix /= scale[:, None, None]
    height, width = shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    base = geometry.identity(len(u))
    base[:, :2, :2] = matrix
    base[:, :2, 2] = middle + chosen.shift * signed[:, 5:7] * [width, height] - matrix @ middle
    gain = 1 + chosen.contrast * signed[:, 7]
    offset = 255 * chosen.brightness * signed[:, 8]
    return base, {
        "gain": gain.astype(np.float32)[:, None, None, None],
        "offset": offset.astype(np.float32)[:, None, None, None],
    }


def _change_parameters(draw, shape, chosen, base, chain: str) -> dict:
    """Draws every change; `base` is the map [n, 3, 3] that the changes' own maps come before."""
    height, width = shape
    found: dict = {"fields": {}, "values": {}, "masks": {}}
    own, masks = None, _masks(draw, chosen, chain)
    for name, one in named(chosen):
        row = OPERATIONS[one.name]
        u = draw(row.draws, f"{chain} {name}")
        some = masks.get(name, np.ones(len(u), bool))
        if one.name in CHANGES:
            found["values"][name] = row.values(u, one.amount).astype(np.float32)
            found["masks"] |= {name: masks[name]} if name in masks else {}
        elif one.name in geometry.FIELDS:
            found["fields"][name] = (one.amount * (2 * u - 1) * some[:, None]).astype(np.float32)
        else:
            matrix = row.matrix((2 * u - 1) * some[:, None], one.amount, (width, height))
            own = matrix if own is None else own @ matrix
    if own is not None:
        own = geometry.about_middle(own, (width, height))
        base = own if base is None else base @ own
    if base is None and found["fields"]:
        base = geometry.identity(len(u))
    return found if base is None else {**found, "transform": _flat(base)}


def _masks(draw, chosen, chain: str) -> dict[str, np.ndarray]:
    """Returns which images each change happens to, where it is not all of them."""
    masks: dict[str, np.ndarray] = {}
    names = [name for name, _ in named(chosen)]
    if chosen.pick:
        order = draw(len(names), f"{chain} pick").argsort(1).argsort(1)
        # AugMix (Hendrycks et al. 2020, algorithm 1): a chain has one to `pick` changes.
        count = 1 + np.floor(chosen.pick * draw(1, f"{chain} depth")) if chain else chosen.pick
        masks = dict(zip(names, (order < count).T, strict=True))
    for name, one in named(chosen):
        if one.chance < 1:
            lucky = draw(1, f"{chain} chance {name}")[:, 0] < one.chance
            masks[name] = masks.get(name, True) & lucky
    return masks


def named(chosen: Policy) -> list[tuple[str, Change]]:
    """Returns each change with a name of its own: blur_0, and blur_1 if it is there twice."""
    seen: collections.Counter[str] = collections.Counter()
    found = []
    for one in chosen.changes:
        found.append((f"{one.name}_{seen[one.name]}", one))
        seen[one.name] += 1
    return found


def _weights(draw, chains: int) -> np.ndarray:
    """AugMix's shares: Dirichlet(1) over the chains, Beta(1, 1) for the image itself."""
    shares = -np.log(1 - draw(chains, "weights"))
    own = draw(1, "own")
    shares *= (1 - own) / np.maximum(shares.sum(1, keepdims=True), 1e-12)
    return np.concatenate([own, shares], 1).astype(np.float32)


def _flat(matrices: np.ndarray) -> np.ndarray:
    """Returns [n, 3, 3] maps as TensorFlow's float32 [n, 8]."""
    matrices = matrices / matrices[:, 2:, 2:]
    return matrices.reshape(-1, 9)[:, :8].astype(np.float32)


def apply(pixels, parameters, chosen: Policy):
    """Returns the views of a batch: float32 [n, height, width, channels], still 0..255.

    Args:
        pixels: uint8 or float tensor [n, height, width, channels].
        parameters: What `view_parameters` returned for the same images.
        chosen: The policy they were drawn for.
    """
    x = tf.cast(pixels, tf.float32)
    if not chosen.chains:
        return _changed(x, parameters, chosen)
    x = _changed(x, parameters, dataclasses.replace(chosen, changes=(), chains=0, pick=0))
    chains = [_changed(x, chain, chosen) for chain in parameters["chains"]]
    stacked = tf.stack([x, *chains], 1)
    return tf.reduce_sum(stacked * parameters["weights"][:, :, None, None, None], 1)


def _changed(x, parameters, chosen):
    if "transform" in parameters:
        x = _warped(x, parameters, chosen)
    if "gain" in parameters:
        middle = tf.reduce_mean(x, [1, 2, 3], keepdims=True)
        x = (x - middle) * parameters["gain"] + middle + parameters["offset"]
        x = tf.clip_by_value(x, 0.0, 255.0)
    for name, one in named(chosen):
        if one.name in CHANGES:
            values, mask = parameters["values"][name], parameters["masks"].get(name)
            x = _where(one.name, x, values, mask)
    return x


def _warped(x, parameters, chosen):
    fields = parameters.get("fields", {})
    border = (chosen.fill, chosen.fill_value)
    if not fields:
        return geometry.projective(x, parameters["transform"], *border)
    in_turn = [(one.name, fields[name]) for name, one in named(chosen) if name in fields]
    return geometry.bent(x, parameters["transform"], in_turn, *border)


def _where(name, x, values, mask):
    """Runs a pixel change on the images it happens to, and on no others."""
    if mask is None:
        return change(name, x, values)
    some = tf.where(mask)
    changed = change(name, tf.gather_nd(x, some), tf.gather_nd(values, some))
    return tf.tensor_scatter_nd_update(x, some, changed)


def look(pixels: np.ndarray, hashes, chosen: Policy, seed: int, view: int) -> np.ndarray:
    """Returns one view of each image, float32 [n, height, width, channels], 0..255.

    Args:
        pixels: uint8 or float [n, height, width, channels].
        hashes: Content hashes of the same images, as `files.content_hash` makes them.
    """
    parameters = view_parameters(hashes, pixels.shape[1:3], chosen, seed, view)
    run = _compiled(_drawn(chosen), any(chosen.classic()), pixels.shape[1:], pixels.dtype.name)
    return run(pixels, parameters).numpy()


def _drawn(chosen) -> Policy:
    """Returns the policy with only what graphs depend on, so that any strength has the same."""
    kept = ("fill", "fill_value", "pick", "chains")
    changes = tuple(Change(one.name, 0, min(1, one.chance // 1 + 0.5)) for one in chosen.changes)
    return Policy(changes=changes, **{name: getattr(chosen, name) for name in kept})


@functools.lru_cache(maxsize=64)
def _compiled(chosen, classic, shape, dtype):
    """Traces for any number of images; `classic` is there since it decides what is drawn."""
    like = dataclasses.replace(chosen, mirror=classic)
    sample = view_parameters(["0" * 16], shape[:2], like, 0, 0)
    signature = (tf.TensorSpec((None, *shape), dtype), tf.nest.map_structure(_spec, sample))
    function = lambda pixels, parameters: apply(pixels, parameters, chosen)  # noqa: E731
    return tf.function(function, input_signature=signature, autograph=False)


def _spec(array):
    return tf.TensorSpec((None, *array.shape[1:]), array.dtype)


def dataset_step(chosen: Policy, seed: int, view: int):
    """Returns a function for `tf.data.Dataset.map` on batches: (pixels, hashes, *rest) to the same.

    Pixels keep shape, type and range 0..255, and `rest` (labels) passes through. Cache before
    this step, never after it: one frozen augmentation would be all that training sees.

    Raises:
        TlkitError: The policy mixes images, which takes the list of all training images.
    """
    if chosen.mix:
        raise TlkitError(f"{chosen.mix} needs all training images: use tlkit's own training.")

    def step(pixels, hashes, *rest):
        shape = tuple(pixels.shape[1:3])
        sample = view_parameters(["0" * 16], shape, chosen, seed, view)

        def numbers(names):
            texts = [name.decode() for name in names]
            return tf.nest.flatten(view_parameters(texts, shape, chosen, seed, view))

        leaves = tf.nest.flatten(sample)
        drawn = tf.numpy_function(numbers, [hashes], [leaf.dtype for leaf in leaves], False)
        for tensor, leaf in zip(drawn, leaves, strict=True):
            tensor.set_shape((None, *leaf.shape[1:]))
        changed = apply(pixels, tf.nest.pack_sequence_as(sample, drawn), chosen)
        if pixels.dtype.is_integer:
            changed = tf.round(changed)
        return (tf.cast(changed, pixels.dtype), hashes, *rest)

    return step


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
