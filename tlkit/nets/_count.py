"""Counts of a built model, layer by layer, from shapes alone: nothing is computed.

Multiply-adds are those of convolutions (grouped, depthwise, sparse, locally connected too) and
dense layers for one image; biases, normalization, activations and pooling are not counted.
"""

from itertools import pairwise
from math import prod

import keras
from keras import layers

from tlkit.layers import WeightNormalization

# Can overwrite their input, or only hand it on: they need no memory of their own. Layers of tlkit
# of that kind say so with a class attribute `in_place`.
IN_PLACE = (
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.Dropout,
    layers.Flatten,
    layers.Reshape,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.Concatenate,
    layers.Add,
    layers.Rescaling,
)
BYTES = 4  # float32


def macs(model: keras.Model) -> int:
    """Returns the multiply-adds of one forward pass of one image."""
    return sum(layer_macs(op) for op in model.operations)


def activations(model: keras.Model) -> int:
    """Returns the bytes of the input and of every layer's float32 output that needs memory of its
    own, one image: the sum that lecture slides print for VGG."""
    return sum(output_bytes(op) for op in model.operations if not _in_place(op))


def connections(model: keras.Model) -> int:
    """Returns the connections as LeCun counts them: multiply-adds, biases of each unit, and the
    inputs of sub-sampling and distance layers."""
    return sum(layer_connections(op) for op in model.operations)


def layer_connections(layer) -> int:
    """Returns the connections into one layer, its biases once per unit."""
    if hasattr(layer, "connections"):
        return layer.connections()
    biased = getattr(layer, "bias", None) is not None
    return layer_macs(layer) + biased * prod(_output(layer)[1:])


def dense_weights(*units: int) -> int:
    """Returns the weights, without biases, of dense layers between `units` values each."""
    return sum(a * b for a, b in pairwise(units))


def layer_macs(layer) -> int:
    """Returns the multiply-adds of one layer for one image; 0 where there are none to count."""
    layer = layer.layer if isinstance(layer, WeightNormalization) else layer
    if hasattr(layer, "multiply_adds"):
        return layer.multiply_adds()
    if isinstance(layer, layers.SeparableConv2D):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    else:
        kernels = [layer.kernel] if hasattr(layer, "kernel") else []
    positions = prod(_output(layer)[1:-1]) if kernels else 0
    return positions * sum(prod(kernel.shape) for kernel in kernels)


def output_bytes(layer) -> int:
    """Returns the bytes of the layer's float32 output for one image, 0 where a size is open."""
    return BYTES * sum(prod(t.shape[1:]) for t in keras.tree.flatten(layer.output))


def layer_rows(model: keras.Model) -> list[dict]:
    """Returns one dict per layer that has weights, windows or an output of its own."""
    fields = receptive_fields(model)
    return [
        _row(op, *fields[op.name]) for op in model.operations if op.weights or not _in_place(op)
    ]


def receptive_fields(model: keras.Model) -> dict[str, tuple]:
    """Returns {layer name: (field, stride)} in input pixels; field None: the whole image.

    Where branches meet, the widest counts (Araujo et al. 2019, Computing receptive fields).
    """
    seen: dict[int, tuple] = {}
    fields = {}
    for op in model.operations:
        before = [seen[id(t)] for t in _inputs(op) if id(t) in seen] or [(1, 1)]
        fields[op.name] = _seen_by(op, _widest(before))
        seen.update({id(t): fields[op.name] for t in keras.tree.flatten(op.output)})
    return fields


def _in_place(op):
    return isinstance(op, IN_PLACE) or getattr(op, "in_place", False)


def _row(op, field, stride):
    shape = keras.tree.flatten(op.output)[0].shape[1:]
    params = op.count_params() if op.weights else 0
    return {
        "layer": op.name,
        "output": tuple(shape),
        "params": params,
        "macs": layer_macs(op),
        "receptive_field": field,
        "stride": stride,
        "bytes": 0 if _in_place(op) else output_bytes(op),
    }


def _seen_by(op, before):
    field, stride = before
    window, step, dilation = _window(op)
    if field is None or window is None:
        return None, None
    return field + ((window - 1) * dilation) * stride, stride * step


def _window(op):
    op = op.layer if isinstance(op, WeightNormalization) else op
    if isinstance(op, (layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)):
        return None, None, None
    size = getattr(op, "kernel_size", None) or getattr(op, "pool_size", None) or 1
    steps = getattr(op, "strides", None) or 1
    return _first(size), _first(steps), _first(getattr(op, "dilation_rate", 1))


def _first(value):
    return value[0] if isinstance(value, (tuple, list)) else value


def _widest(pairs):
    if any(field is None for field, _ in pairs):
        return None, None
    return max(field for field, _ in pairs), max(stride for _, stride in pairs)


def _inputs(op):
    return [] if isinstance(op, layers.InputLayer) else keras.tree.flatten(op.input)


def _output(layer):
    return keras.tree.flatten(layer.output)[0].shape
