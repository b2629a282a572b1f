"""Augmentation: what a view of an image is, drawn from (seed, view, image) and nothing else.

It stands outside the model, between decoded pixels and the backbone, so it cannot leak into an
export. Every number of a view comes from a hash of the seed, the view's number and the image's
own content: the order of images, threads and batches cannot change it, and the features of a view
can be cached and found again.

Which changes there are to choose from is in `warps` and `pixel_changes`, the choices made are in
`policies`, and partners for mixing in `mixing`.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tlkit.augmentation import geometry
from tlkit.augmentation.draws import named, view_parameters
from tlkit.augmentation.pixel_changes import CHANGES, change
from tlkit.augmentation.policies import Change, Policy
from tlkit.errors import TlkitError


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
