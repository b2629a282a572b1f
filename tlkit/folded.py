"""A network with frozen normalization, run with each BatchNorm inside its convolution's kernel.

In inference mode `norm(conv(x))` is one convolution with the kernel `w * k` and a bias, where
`k = gamma / sqrt(variance + epsilon)` per output channel (Jacob et al. 2018, section 3.2). The
product is taken in the graph, in every step, from the Keras variables themselves: nothing is copied
and gradients reach the kernel, and gamma and beta where they are trained.
"""

import collections
import dataclasses
import inspect
from collections.abc import Callable

import keras
import tensorflow as tf

from tlkit.surgery import _nodes as nodes

PRECISIONS = ("float32", "bfloat16")
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


@dataclasses.dataclass(frozen=True)
class _Unit:
    """A convolution with what is computed together with it.

    Attributes:
        norm: The BatchNormalization that follows it, or None.
        stride: Step between the positions it looks at.
        pad: The ((top, bottom), (left, right)) of the ZeroPadding2D before it, or None.
        half: Whether the products are taken in bfloat16; sums stay float32.
    """

    layer: keras.layers.Layer
    norm: keras.layers.BatchNormalization | None
    stride: tuple[int, int]
    pad: tuple | None
    half: bool

    def __call__(self, x):
        kernel, bias = _kernel_and_bias(self.layer, self.norm)
        y = _pick(self)(self, x, kernel)
        y = y if bias is None else y + bias
        return y if self.norm else self.layer.activation(y)


def fold(part: keras.Model, *, precision: str = "float32", thinned: bool = False) -> Callable:
    """Returns `run(x, training=False)`, which equals `part(x, training=False)` to rounding.

    Convolutions of 1x1 are run as matrix products. Layers of other kinds are called as they are,
    in inference mode. With `training=True` it is `part` itself that runs, since live statistics
    cannot be folded. Call it inside a `tf.function`.

    Args:
        part: A functional model with one input and one output, float32 both.
        precision: `bfloat16` multiplies in bfloat16 (relative error about 2**-8) and keeps the
            variables, sums and everything between convolutions float32. Depthwise kernels stay
            float32: bfloat16 would slow them down.
        thinned: The rows given are `x[:, ::2, ::2]`; only where `thinning(part)` is 2.

    Returns `part` itself where `obstacle(part)` names a reason.
    """
    if obstacle(part):
        return part
    calls = _calls(part, precision == "bfloat16", thinned)

    def run(x, training=False):
        if training:
            return part(x, training=True)
        return part._run_through_graph(x, operation_fn=lambda operation: calls[id(operation)])

    return run


def obstacle(part: keras.Model) -> str:
    """Says why `part` is not folded, or returns an empty text."""
    if not hasattr(part, "_run_through_graph"):
        return f"{part.name} is not a functional model"
    for layer in part._flatten_layers(include_self=False):
        if isinstance(layer, (*_CONVOLUTIONS, keras.layers.BatchNormalization)):
            rules = [key for key in vars(layer) if key.endswith(("_regularizer", "_constraint"))]
            held = [key for key in rules if getattr(layer, key) is not None]
            if held:
                return f"{layer.name} has a {held[0]}"
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
                return f"{layer.name} is trainable"
    return ""


def thinning(part: keras.Model) -> int:
    """Returns 2 where `part` reads only every second pixel of its input, both ways, else 1.

    ResNet v1 enters a stage by two 1x1 convolutions of stride 2: three quarters of the rows
    cached at such a boundary are never looked at.
    """
    readers = _readers(part)[id(part.inputs[0])]
    skipping = [_is_pointwise(op) and tuple(op.strides) == (2, 2) for op in readers]
    return 2 if skipping and all(skipping) else 1


def _calls(part: keras.Model, half: bool, thinned: bool) -> dict[int, Callable]:
    """Returns what to call for every operation of `part`."""
    readers = _readers(part)
    makers = {id(t): node.operation for node in nodes(part) for t in node.output_tensors}
    uses = collections.Counter(id(node.operation) for node in nodes(part))
    calls = {id(op): _plain(op, half) for op in part.operations}
    for node in nodes(part):
        layer = node.operation
        if not _is_foldable(layer) or uses[id(layer)] > 1:
            continue
        norm = _norm_after(node, readers, uses, part)
        entrance = thinned and node.input_tensors[0] is part.inputs[0]
        stride = (1, 1) if entrance else tuple(layer.strides)
        calls[id(layer)] = _Unit(layer, norm, stride, None, half)
        if norm:
            calls[id(norm)] = _same
    del makers
    return calls


def _readers(part: keras.Model) -> dict[int, list[keras.Operation]]:
    """Returns the operations that read each tensor, by the tensor's id."""
    readers = collections.defaultdict(list)
    for node in nodes(part):
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node.operation)
    return readers


def _norm_after(node, readers, uses, part) -> keras.layers.BatchNormalization | None:
    """Returns the BatchNormalization that alone reads this convolution, if there is one."""
    (tensor,) = node.output_tensors
    after = readers[id(tensor)]
    if len(after) != 1 or any(tensor is output for output in part.outputs):
        return None
    norm, linear = after[0], node.operation.activation is keras.activations.linear
    fits = type(norm) is keras.layers.BatchNormalization and norm.axis in (-1, 3)
    return norm if linear and fits and uses[id(norm)] == 1 and _is_float32(norm) else None


def _is_foldable(layer) -> bool:
    """Exact types only: a subclass may compute something else."""
    return (
        type(layer) in _CONVOLUTIONS
        and _is_float32(layer)
        and layer.data_format == "channels_last"
        and layer.padding in ("same", "valid")
        and layer.strides[0] == layer.strides[1]
        and getattr(layer, "groups", 1) == 1
    )


def _is_float32(layer) -> bool:
    return layer.dtype_policy.name == "float32"


def _is_pointwise(layer) -> bool:
    return type(layer) is keras.layers.Conv2D and _is_foldable(layer) and layer.kernel_size == (1, 1)


def _plain(operation, half: bool) -> Callable:
    """Returns the operation itself, in inference mode where it knows modes."""
    if isinstance(operation, keras.Model) and hasattr(operation, "_run_through_graph"):
        return fold(operation, precision=PRECISIONS[half])
    if "training" not in inspect.signature(operation.call).parameters:
        return operation
    return lambda *args, **kwargs: operation(*args, **{**kwargs, "training": False})


def _same(x, **_):
    return x


def _kernel_and_bias(layer, norm):
    """Returns the layer's kernel with the normalization's factor in it, and the bias that is due."""
    kernel = tf.convert_to_tensor(layer.kernel)
    bias = tf.convert_to_tensor(layer.bias) if layer.use_bias else None
    if norm is None:
        return kernel, bias
    factor = tf.math.rsqrt(norm.moving_variance + norm.epsilon)
    factor = factor * norm.gamma if norm.scale else factor
    mean = tf.convert_to_tensor(norm.moving_mean)
    shift = ((0.0 if bias is None else bias) - mean) * factor
    shift = shift + norm.beta if norm.center else shift
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        factor = tf.reshape(factor, kernel.shape[2:])
    return kernel * factor, shift


def _pick(unit: _Unit) -> Callable:
    if isinstance(unit.layer, keras.layers.DepthwiseConv2D):
        return _depthwise
    return _matmul if _is_pointwise(unit.layer) else _conv


def _depthwise(unit, x, kernel):
    return tf.nn.depthwise_conv2d(x, kernel, strides=(1, *unit.stride, 1), padding=unit.layer.padding.upper(), dilations=unit.layer.dilation_rate)


def _conv(unit, x, kernel):
    if unit.half:
        x, kernel = tf.cast(x, tf.bfloat16), tf.cast(kernel, tf.bfloat16)
    y = tf.nn.conv2d(x, kernel, unit.stride, unit.layer.padding.upper(), dilations=unit.layer.dilation_rate)
    return tf.cast(y, tf.float32)


def _matmul(unit, x, kernel):
    if unit.stride != (1, 1):
        x = x[:, :: unit.stride[0], :: unit.stride[1]]
    shape = tf.shape(x)
    rows, matrix = tf.reshape(x, (-1, kernel.shape[2])), kernel[0, 0]
    if unit.half:
        rows, matrix = tf.cast(rows, tf.bfloat16), tf.cast(matrix, tf.bfloat16)
    y = tf.cast(tf.matmul(rows, matrix), tf.float32)
    return tf.reshape(y, tf.concat([shape[:3], [kernel.shape[3]]], 0))
